"""The latency gate's arithmetic and its documents: pairs of processes in, a judgement out."""
