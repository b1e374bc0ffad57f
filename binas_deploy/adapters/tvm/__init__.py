"""TVM on CPUs, GPUs and boards behind its RPC tracker: the device is `binas_deploy.adapters.tvm.device.TvmDevice`."""
