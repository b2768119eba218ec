"""The names that scripts have for ICMP messages of both families, and their numbers."""

from __future__ import annotations

from typing import Final

TYPES: Final = {
    4: {
        "echo_reply": 0,
        "unreachable": 3,
        "source_quench": 4,
        "redirect": 5,
        "echo_request": 8,
        "time_exceeded": 11,
        "parameter_problem": 12,
        "timestamp_request": 13,
        "timestamp_reply": 14,
        "information_request": 15,
        "information_reply": 16,
        "address_mask_request": 17,
        "address_mask_reply": 18,
    },
    6: {
        "unreachable": 1,
        "packet_too_big": 2,
        "time_exceeded": 3,
        "parameter_problem": 4,
        "echo_request": 128,
        "echo_reply": 129,
    },
}

CODES: Final = {
    (4, 3): {
        "net_unreachable": 0,
        "host_unreachable": 1,
        "protocol_unreachable": 2,
        "port_unreachable": 3,
        "frag_needed": 4,
        "source_route_failed": 5,
        "net_unknown": 6,
        "host_unknown": 7,
        "source_host_isolated": 8,
        "net_prohibited": 9,
        "host_prohibited": 10,
        "net_unreachable_for_tos": 11,
        "host_unreachable_for_tos": 12,
        "packet_filtered": 13,
        "precedence_violation": 14,
        "precedence_cutoff": 15,
    },
    (6, 1): {
        "net_unreachable": 0,
        "no_route": 0,
        "admin_prohibited": 1,
        "not_neighbour": 2,
        "address_unreachable": 3,
        "port_unreachable": 4,
    },
    (6, 3): {"exceeded_hop_limit": 0, "exceeded_frag_time": 1},
    (6, 4): {"header_field": 0, "unknown_next_header": 1, "unknown_option": 2},
}


def number_of(text: str, prefix: str, names: dict[str, int]) -> int | None:
    """The number of a type or code by its name, as `type_13`, or as `13`; None for what is none of these."""
    if text in names:
        return names[text]
    digits = text.removeprefix(f"{prefix}_")
    return int(digits) if digits.isdecimal() and len(digits) <= 3 and int(digits) < 256 else None
