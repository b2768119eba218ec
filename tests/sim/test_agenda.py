"""Virtual time."""

from __future__ import annotations

from stack.sim.agenda import Agenda, Wakeable
from stack.wire.units import NEVER, Time


class Sleeper(Wakeable):
    """Writes down its name when it is called; may want to be called again."""

    def __init__(self, name: str, diary: list[tuple[Time, str]], again: int = 0) -> None:
        super().__init__()
        self.name = name
        self.diary = diary
        self.again = again
        self.agenda: Agenda | None = None

    def wake(self, now: Time) -> None:
        self.diary.append((now, self.name))
        if self.again and self.agenda is not None:
            self.agenda.put_down(self, now + self.again)
            self.again = 0


def test_things_happen_in_order_of_time_and_then_of_being_put_down() -> None:
    agenda = Agenda()
    diary: list[tuple[Time, str]] = []
    for name, when in (("c", 9), ("a", 5), ("b", 5)):
        agenda.put_down(Sleeper(name, diary), when)
    while agenda.next_time() < NEVER:
        agenda.step()
    assert diary == [(5, "a"), (5, "b"), (9, "c")]
    assert (agenda.now, agenda.events) == (9, 3)


def test_an_earlier_appointment_replaces_a_later_one() -> None:
    agenda = Agenda()
    diary: list[tuple[Time, str]] = []
    sleeper = Sleeper("a", diary)
    agenda.put_down(sleeper, 9)
    agenda.put_down(sleeper, 5)
    agenda.put_down(sleeper, 7)
    while agenda.next_time() < NEVER:
        agenda.step()
    assert diary == [(5, "a")]


def test_who_is_called_can_ask_to_be_called_again() -> None:
    agenda = Agenda()
    diary: list[tuple[Time, str]] = []
    sleeper = Sleeper("a", diary, again=3)
    sleeper.agenda = agenda
    agenda.put_down(sleeper, 9)
    agenda.put_down(sleeper, 5)  # the entry at 9 is passed over, though it is called at 8
    while agenda.next_time() < NEVER:
        agenda.step()
    assert diary == [(5, "a"), (8, "a")]
    assert agenda.next_time() == NEVER


def test_time_never_goes_back() -> None:
    agenda = Agenda()
    diary: list[tuple[Time, str]] = []
    agenda.now = 100
    agenda.put_down(Sleeper("late", diary), 50)
    agenda.step()
    assert diary == [(100, "late")]
