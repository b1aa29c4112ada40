from __future__ import annotations

import dataclasses
import importlib
import pickle
import pkgutil
import types
import typing
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import flora.messages
from flora.messages.base import Failed, Message, Reply, Request
from flora.messages.errors import FloraError, error_from

MODULES = [
    importlib.import_module(f"flora.messages.{module.name}") for module in pkgutil.iter_modules(flora.messages.__path__)
]
CLASSES = [
    member
    for module in MODULES
    for member in vars(module).values()
    if isinstance(member, type) and dataclasses.is_dataclass(member) and member.__module__ == module.__name__
]
SAMPLES: dict[type, object] = {
    str: "text",
    int: 7,
    float: 0.5,
    bool: True,
    bytes: b"\x00\xff",
    Path: Path("/data"),
    datetime: datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
    type(None): None,
}


def sample(kind: Any) -> Any:
    """Some value of an annotated type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in {Any, object}:
        return {"any": ["value", 1]}
    if isinstance(kind, typing.NewType):
        return sample(kind.__supertype__)
    if origin in {typing.Union, types.UnionType}:
        return sample(arguments[0])
    if origin is typing.Literal:
        return arguments[0]
    if origin is tuple:
        return (sample(arguments[0]),) if arguments[-1] is Ellipsis else tuple(sample(part) for part in arguments)
    if origin in {dict, Mapping}:
        return {sample(arguments[0]): sample(arguments[1])}
    if origin in {list, set, frozenset}:
        return origin([sample(arguments[0])])
    if dataclasses.is_dataclass(kind):
        return filled(kind)
    if isinstance(kind, type) and hasattr(kind, "__members__"):
        return next(iter(kind))  # type: ignore[call-overload]
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return kind(**{name: sample(hint) for name, hint in typing.get_type_hints(kind).items()})
    return SAMPLES[kind]


def filled(cls: Any) -> Any:
    """A message with a value in every field, so that pickling has something to do."""
    hints = typing.get_type_hints(cls)
    return cls(**{field.name: sample(hints[field.name]) for field in dataclasses.fields(cls) if field.init})


def by_name(cls: type) -> str:
    return cls.__name__


def test_given_all_messages_when_counted_then_the_modules_were_found_and_names_are_unique() -> None:
    # The actor library finds a handler by the bare name of the class.
    assert len(CLASSES) > 40
    assert [name for name, count in Counter(map(by_name, CLASSES)).items() if count > 1] == []


@pytest.mark.parametrize("cls", CLASSES, ids=by_name)
def test_given_a_message_class_when_looked_at_then_it_is_frozen_slotted_and_keyword_only(cls: Any) -> None:
    parameters = cls.__dataclass_params__

    assert parameters.frozen
    assert "__slots__" in vars(cls)
    assert not hasattr(filled(cls), "__dict__")
    assert all(field.kw_only for field in dataclasses.fields(cls))
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}(")


@pytest.mark.parametrize("cls", CLASSES, ids=by_name)
def test_given_a_full_message_when_pickled_and_back_then_it_is_the_same(cls: Any) -> None:
    message = filled(cls)

    assert pickle.loads(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)) == message


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, Message)], ids=by_name)
def test_given_a_message_when_sent_then_it_can_carry_its_trace(cls: type) -> None:
    assert "trace" in {field.name for field in dataclasses.fields(cls)}


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, Request | Reply)], ids=by_name)
def test_given_a_request_or_reply_when_made_then_it_names_the_request(cls: Any) -> None:
    assert filled(cls).req_id


@pytest.mark.parametrize("cls", CLASSES, ids=by_name)
def test_given_a_field_named_like_a_secret_when_shown_then_its_value_is_not(cls: Any) -> None:
    words = ("secret", "token", "password", "master_key")
    shown = [
        field.name
        for field in dataclasses.fields(cls)
        if field.repr
        and any(word in field.name for word in words)
        and not field.name.endswith(("_id", "_ids"))
        and not dataclasses.is_dataclass(typing.get_type_hints(cls)[field.name])
    ]

    assert shown == []


def all_errors(root: type[FloraError] = FloraError) -> list[type[FloraError]]:
    return [root, *(error for child in root.__subclasses__() for error in all_errors(child))]


def test_given_the_errors_when_their_codes_are_listed_then_only_our_own_fault_has_two_names() -> None:
    codes = Counter(error.code for error in all_errors())

    assert {code for code, count in codes.items() if count > 1} <= {"INTERNAL"}
    assert all(code == code.upper() for code in codes)


@pytest.mark.parametrize("error", [error for error in all_errors() if error.code != "INTERNAL"], ids=by_name)
def test_given_an_error_when_it_crosses_to_another_actor_then_it_comes_out_as_the_same(error: type[FloraError]) -> None:
    failed: Failed = pickle.loads(pickle.dumps(error("it broke", guild_id="1", limit_s=3.0).as_failed("r1")))  # type: ignore[arg-type]

    back = error_from(failed)

    assert type(back) is error
    assert str(back) == "it broke"
    assert back.details == {"guild_id": "1", "limit_s": 3.0}
