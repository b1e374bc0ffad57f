"""Where ONNX Runtime puts the nodes of a model: all of them on the provider that was asked for, or it is refused.

Left alone, it runs what a provider does not take on the CPU, and everything where the provider does not even start,
with no more than a line on stderr. A session is therefore opened strictly (`STRICT`), and fails then. Why is found by
opening it once more without that, and asking where the nodes went (`RECORD`, ONNX Runtime 1.24 and newer).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from binas_deploy.errors import DeviceError

STRICT: Final = "session.disable_cpu_ep_fallback"
RECORD: Final = "session.record_ep_graph_assignment_info"
_SHOWN: Final = 6


def require_placed(session: Any, provider: str) -> None:
    """Refuse an open ``session`` that has a node elsewhere than on ``provider``, or did not take it at all.

    Raises:
        DeviceError: names the operators that are elsewhere, and where.
    """
    taken = list(session.get_providers())
    if not taken or taken[0] != provider:
        raise DeviceError(
            f"provider '{provider}' asked, ONNX Runtime took {', '.join(taken) or 'none'}: it could not start it, and "
            "wrote why to stderr. Mostly a library that the provider needs is missing, or its hardware is."
        )
    placed = _placed(session)
    if elsewhere := [(name, kind) for name, kind in placed if name != provider]:
        raise DeviceError(_refusal(provider, len(placed), elsewhere))


def _placed(session: Any) -> list[tuple[str, str]]:
    """(provider, operator) of each node; none where ONNX Runtime is too old to tell."""
    tell = getattr(session, "get_provider_graph_assignment_info", None)
    if tell is None:
        return []
    return [(part.ep_name, node.op_type) for part in tell() for node in part.get_nodes()]


def _refusal(provider: str, nodes: int, elsewhere: list[tuple[str, str]]) -> str:
    where = "; ".join(
        f"{_counted(kind for name, kind in elsewhere if name == other)} on {other}"
        for other in sorted({name for name, _ in elsewhere})
    )
    return (
        f"{provider} takes {nodes - len(elsewhere)} of {nodes} nodes of this model. The others would run elsewhere: "
        f"{where}. Their time is not the device's. Search without these operators, or measure on another provider."
    )


def _counted(kinds: Iterable[str]) -> str:
    """Such as 'HardSwish (14), Conv'."""
    found = Counter(kinds).most_common()
    texts = [f"{kind} ({count})" if count > 1 else kind for kind, count in found]
    return ", ".join(texts[:_SHOWN]) + (f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")
