"""joblib and pickle files, walked opcode by opcode as their loader would, with nothing made, imported or called.

joblib writes the bytes of an array right behind the opcodes that describe it, so what an opcode refers to has to be
known: texts, numbers, tuples, and the names of what would be called. Everything else is a stranger that is only counted.
"""

from __future__ import annotations

import io
import pickletools
import re
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

from smalt_trainer.registration.formats.found import JOBLIB, Found
from smalt_trainer.registration.formats.packed import Content, opened, packing_of
from smalt_trainer.registration.formats.pickle_names import may_be_called, may_be_named
from smalt_trainer.registration.refused import REGISTER_AGAIN, NotRegistered, damaged, refused, shown

_MOST_OPCODES = 25_000_000
# What is remembered at the same time: values on the stack and in the memo.
_MOST_KEPT = 5_000_000
_LONGEST_KEPT = 256
_LONGEST_LINE = 1 << 20
_MOST_ITEMS = 64
_DEEPEST = 8
_MOST_PICKLES = 1000
_TYPES = 100
_TEXTS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
_WIDTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_ITEM = re.compile(r"(?:[?bB]|([iufcmMSUVabO])(\d*)|[hHiIlLqQefdgFDG])")
_CODES = {
    "?": 1,
    "b": 1,
    "B": 1,
    "h": 2,
    "H": 2,
    "i": 4,
    "I": 4,
    "l": 8,
    "L": 8,
    "q": 8,
    "Q": 8,
    "e": 2,
    "f": 4,
    "d": 8,
    "g": 16,
    "F": 8,
    "D": 16,
    "G": 32,
}


def looks_like(head: bytes) -> bool:
    """What joblib and pickle write: protocol 2 or later, plain or packed."""
    return (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")) or packing_of(head) is not None


def check(path: Path) -> Found:
    """One or several pickles that name only what models are made of. NotRegistered for anything else."""
    with path.open("rb") as stream:
        head = stream.read(64)
    walked = _Walked(path.name)
    with opened(path, head) as content:
        for _ in range(_MOST_PICKLES):
            _Machine(content, walked).run()
            first = content.some(1)
            if not first:
                return Found(JOBLIB, types=tuple(sorted(walked.types))[:_TYPES])
            if first != b"\x80":
                raise damaged(path.name, f"something follows its end at byte {content.position - 1}")
            walked.is_begun = True
    raise damaged(path.name, f"it holds more than {_MOST_PICKLES} pickles")


class _Walked:
    """What all pickles of a file share: bounds, and the names in them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.opcodes = 0
        self.types: set[str] = set()
        self.is_begun = False


class _Stranger:
    """A value of which nothing needs to be known."""

    __slots__ = ()


class _Mark:
    __slots__ = ()


class _Global:
    """A class or function by name."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    @property
    def full(self) -> str:
        return f"{self.module}.{self.name}"


class _Made:
    """What a call would give: by whom, from what, and the state that it would be given."""

    __slots__ = ("arguments", "by", "state")

    def __init__(self, by: _Global, arguments: Any) -> None:
        self.by, self.arguments, self.state = by, arguments, None


class _Dict:
    """A dictionary as far as its keys are short texts; None when it is another."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items: Optional[Dict[str, Any]] = {}

    def put(self, key: Any, value: Any) -> None:
        if self.items is None or not isinstance(key, str) or len(self.items) >= _MOST_ITEMS:
            self.items = None
            return
        self.items[key] = value


_STRANGER, _MARK = _Stranger(), _Mark()


class _Machine:
    """One pickle from its first opcode to its STOP."""

    def __init__(self, content: Content, walked: _Walked, depth: int = 0) -> None:
        self.content, self.walked, self.depth = content, walked, depth
        self.stack: list[Any] = []
        self.marks = 0
        self.memo: dict[int, Any] = {}

    def run(self) -> None:
        walked, content = self.walked, self.content
        if walked.is_begun:  # its first opcode told that it is there
            content.exactly(1)
            walked.is_begun = False
        exactly, table, stack, memo = content.exactly, _TABLE, self.stack, self.memo
        while True:
            walked.opcodes += 1
            if walked.opcodes > _MOST_OPCODES or len(stack) + len(memo) > _MOST_KEPT:
                raise refused(
                    walked.name,
                    "has more parts than a model: it is not looked at any further; save the model with skops.io.dump",
                )
            entry = table.get(exactly(1))
            if entry is None:
                raise self.damaged(f"byte {content.position - 1} is no opcode")
            opcode, action, size = entry
            if action is not None:
                # The commonest have an argument of a byte or none.
                action(self, None if size == 0 else exactly(1)[0] if size == 1 else self.argument(opcode))
            elif opcode.name == "STOP":
                self.pop()
                if stack:
                    raise self.damaged("values are left at its end")
                return
            else:
                raise refused(
                    walked.name,
                    f"uses the opcode {opcode.name}, which loads what is outside of the file: save the model with "
                    f"joblib.dump, {REGISTER_AGAIN}",
                )

    def damaged(self, words: str) -> NotRegistered:
        return damaged(self.walked.name, f"no pickle: {words}")

    def argument(self, opcode: Any) -> Any:
        """The opcode's argument; of a long text or many bytes only that they are there."""
        kind = opcode.arg
        content = self.content
        if kind.n == pickletools.UP_TO_NEWLINE:
            first = content.line(_LONGEST_LINE)
            second = content.line(_LONGEST_LINE) if opcode.name in ("GLOBAL", "INST") else None
            raw = first + b"\n" + (second + b"\n" if second is not None else b"")
        elif kind.n >= 0:
            raw = content.exactly(kind.n)
        else:
            prefix = content.exactly(_WIDTHS[kind.n])
            size = int.from_bytes(prefix, "little", signed=kind.n == pickletools.TAKEN_FROM_ARGUMENT4)
            if size < 0:
                raise self.damaged(f"a length at byte {content.position} is negative")
            if size > _LONGEST_KEPT:
                content.skip(size)
                return _STRANGER
            if opcode.name in _TEXTS:
                return self.text(content.exactly(size))
            raw = prefix + content.exactly(size)
        try:
            return kind.reader(io.BytesIO(raw))
        except (ValueError, OverflowError, UnicodeError) as error:
            raise self.damaged(f"{opcode.name} at byte {content.position}: {str(error)[:100]}") from error

    def text(self, raw: bytes) -> str:
        """As pickle reads it."""
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeError as error:
            raise self.damaged(f"a text at byte {self.content.position} is no UTF-8") from error

    # --- the stack ---

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise self.damaged(f"byte {self.content.position} takes a value that is not there")
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise self.damaged(f"byte {self.content.position} changes a value that is not there")
        return self.stack[-1]

    def marked(self) -> list[Any]:
        """Everything above the last mark, which goes with it."""
        if not self.marks:
            raise self.damaged(f"byte {self.content.position} looks for a mark that is not there")
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
        found = self.stack[at + 1 :]
        del self.stack[at:]
        self.marks -= 1
        return found

    def mark(self) -> None:
        self.marks += 1
        self.stack.append(_MARK)

    def keep(self, at: Any) -> None:
        self.memo[int(at)] = self.top()

    def kept(self, at: Any) -> None:
        if int(at) not in self.memo:
            raise self.damaged(f"byte {self.content.position} takes what was never kept")
        self.push(self.memo[int(at)])

    # --- names and calls ---

    def name(self, module: Any, name: Any) -> None:
        """A class or function. NotRegistered unless models are made of it."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise refused(
                self.walked.name,
                "names something in a way that no program writes: this is no model that can be trusted",
            )
        found = _Global(module, name)
        if "." in name or not may_be_named(module, name):
            raise _foreign(self.walked.name, found.full)
        if len(self.walked.types) < 10_000:
            self.walked.types.add(found.full)
        self.push(found)

    def call(self, by: Any, arguments: Any) -> None:
        if not isinstance(by, _Global):
            raise refused(
                self.walked.name,
                "calls something that has no name: this is no model that can be trusted; save it with skops.io.dump",
            )
        if not may_be_called(by.module, by.name):
            raise _foreign(self.walked.name, by.full)
        made = _first(arguments) if by.module in ("copyreg", "copy_reg") else by
        if not isinstance(made, _Global) or not may_be_called(made.module, made.name):
            raise _foreign(self.walked.name, made.full if isinstance(made, _Global) else by.full)
        if by.module == "_codecs" and not _is_latin(arguments):
            raise _foreign(self.walked.name, by.full)
        self.push(_Made(by, arguments))

    def build(self) -> None:
        state = self.pop()
        target = self.top()
        if not isinstance(target, _Made):
            if isinstance(target, _Stranger):
                return
            raise self.damaged(f"byte {self.content.position} gives a state to what has none")
        target.state = state
        if not self.depth and _maker(target) == "joblib.numpy_pickle.NumpyArrayWrapper":
            self.array(state)
            self.stack[-1] = _STRANGER

    # --- joblib's arrays ---

    def array(self, state: Any) -> None:
        """The bytes of an array, or the pickle in which one of objects is."""
        found = state.items if isinstance(state, _Dict) else None
        if found is None or not {"shape", "dtype", "order"} <= set(found):
            raise self.damaged("an array of joblib is not described")
        kind = found["dtype"]
        size, has_objects = self.item(kind, 0)
        if has_objects:
            if self.depth >= _DEEPEST:
                raise self.damaged("arrays lie in each other too deep")
            _Machine(self.content, self.walked, self.depth + 1).run()
            return
        shape = found["shape"]
        if not isinstance(shape, tuple) or not all(type(each) is int and 0 <= each < 1 << 62 for each in shape):
            raise self.damaged("an array of joblib has a shape that is none")
        count = 1
        for each in shape:
            count *= each
        if found.get("numpy_array_alignment_bytes") is not None:
            self.content.skip(self.content.exactly(1)[0])
        self.content.skip(count * size)

    def item(self, kind: Any, depth: int) -> Tuple[int, bool]:
        """The bytes of one element of that dtype, and whether it holds objects."""
        arguments = kind.arguments if isinstance(kind, _Made) and kind.by.full == "numpy.dtype" else None
        code = arguments[0] if isinstance(arguments, tuple) and arguments else None
        matched = _ITEM.fullmatch(code) if isinstance(code, str) else None
        if not isinstance(kind, _Made) or not matched or depth > _DEEPEST:
            raise self.damaged("an array of joblib has a dtype that is not known")
        letter, digits = matched.group(1), matched.group(2)
        if letter == "O":
            return 8, True
        if letter in ("i", "u", "f", "c") and not digits:
            size = _CODES.get(str(code), 0)
        elif letter:
            size = int(digits or (8 if letter in "mM" else 0)) * (4 if letter == "U" else 1)
        else:
            size = _CODES[str(code)]
        if letter in ("b",) and not size:
            size = 1
        state = kind.state
        if not isinstance(state, tuple):
            return size, False
        if len(state) > 5 and type(state[5]) is int and state[5] not in (-1, size):
            raise self.damaged("an array of joblib has a dtype that contradicts itself")
        has_objects = len(state) > 7 and type(state[7]) is int and bool(state[7] & 1)
        for field in self.fields(state[4] if len(state) > 4 else None):
            has_objects |= self.item(field, depth + 1)[1]
        if len(state) > 2 and isinstance(state[2], tuple) and state[2]:
            has_objects |= self.item(state[2][0], depth + 1)[1]
        return size, has_objects

    def fields(self, found: Any) -> list[Any]:
        if found is None:
            return []
        if not isinstance(found, _Dict) or found.items is None:
            raise self.damaged("an array of joblib has a dtype with more fields than are looked at")
        return [each[0] if isinstance(each, tuple) and each else None for each in found.items.values()]


def _maker(made: _Made) -> str:
    """Who makes it in the end: what is called by way of copyreg is its first argument."""
    first = _first(made.arguments)
    return first.full if made.by.module in ("copyreg", "copy_reg") and isinstance(first, _Global) else made.by.full


def _first(arguments: Any) -> Any:
    return arguments[0] if isinstance(arguments, tuple) and arguments else None


def _is_latin(arguments: Any) -> bool:
    """How bytes are written in protocol 2; other codecs unpack and execute."""
    return isinstance(arguments, tuple) and len(arguments) == 2 and arguments[1] in ("latin1", "latin-1")


def _foreign(name: str, what: str) -> NotRegistered:
    return refused(
        name,
        f"names {shown(what)}, which is not among the classes that a model may be made of, and loading it would execute it: "
        "build the model from classes of scikit-learn, numpy, scipy, pandas, LightGBM, XGBoost, CatBoost or imbalanced-learn "
        f"alone, or save it as ONNX or with skops.io.dump, {REGISTER_AGAIN}",
    )


def _tuple(machine: _Machine, items: list[Any]) -> None:
    machine.push(tuple(items) if len(items) <= _MOST_ITEMS else _STRANGER)


def _popped(machine: _Machine, count: int) -> list[Any]:
    return [machine.pop() for _ in range(count)][::-1]


def _constant(machine: _Machine, value: Any) -> None:
    is_short = not isinstance(value, (str, bytes)) or len(value) <= _LONGEST_KEPT
    machine.push((value.decode("latin-1") if isinstance(value, bytes) else value) if is_short else _STRANGER)


def _bytes(machine: _Machine, _: Any) -> None:
    machine.push(_STRANGER)


def _add(machine: _Machine, _: Any) -> None:
    machine.marked()
    machine.top()


def _append(machine: _Machine, _: Any) -> None:
    machine.pop()
    machine.top()


def _items(machine: _Machine, target: Any, items: list[Any]) -> None:
    if len(items) % 2:
        raise machine.damaged("a dictionary has a key without a value")
    if isinstance(target, _Dict):
        for at in range(0, len(items), 2):
            target.put(items[at], items[at + 1])


def _set_items(machine: _Machine, _: Any) -> None:
    items = machine.marked()
    _items(machine, machine.top(), items)


def _set_item(machine: _Machine, _: Any) -> None:
    items = _popped(machine, 2)
    _items(machine, machine.top(), items)


def _dict(machine: _Machine, _: Any) -> None:
    items = machine.marked()
    made = _Dict()
    _items(machine, made, items)
    machine.push(made)


def _strange(machine: _Machine, _: Any) -> None:
    machine.push(_STRANGER)


def _strange_marked(machine: _Machine, _: Any) -> None:
    machine.marked()
    machine.push(_STRANGER)


def _pop(machine: _Machine, _: Any) -> None:
    if machine.stack and machine.stack[-1] is _MARK:
        machine.marked()
    else:
        machine.pop()


def _pop_mark(machine: _Machine, _: Any) -> None:
    machine.marked()


def _global(machine: _Machine, argument: Any) -> None:
    module, _, name = str(argument).partition(" ")
    machine.name(module, name)


def _stack_global(machine: _Machine, _: Any) -> None:
    machine.name(*_popped(machine, 2))


def _instance(machine: _Machine, argument: Any) -> None:
    arguments = machine.marked()
    _global(machine, argument)
    machine.call(machine.pop(), tuple(arguments[:_MOST_ITEMS]))


def _object(machine: _Machine, _: Any) -> None:
    found = machine.marked()
    machine.call(found[0] if found else None, tuple(found[1 : 1 + _MOST_ITEMS]))


def _reduce(machine: _Machine, _: Any) -> None:
    machine.call(*_popped(machine, 2))


def _new_object_with_names(machine: _Machine, _: Any) -> None:
    by, arguments, _names = _popped(machine, 3)
    machine.call(by, arguments)


def _number(machine: _Machine, value: Any) -> None:
    machine.push(value)


_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda *_: None),
    **dict.fromkeys(("INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT"), _number),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _constant),
    **dict.fromkeys(("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _constant),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _bytes),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: _tuple(machine, machine.marked()),
    "TUPLE1": lambda machine, _: _tuple(machine, _popped(machine, 1)),
    "TUPLE2": lambda machine, _: _tuple(machine, _popped(machine, 2)),
    "TUPLE3": lambda machine, _: _tuple(machine, _popped(machine, 3)),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_SET"), _strange),
    **dict.fromkeys(("LIST", "FROZENSET"), _strange_marked),
    "APPEND": _append,
    **dict.fromkeys(("APPENDS", "ADDITEMS"), _add),
    "EMPTY_DICT": lambda machine, _: machine.push(_Dict()),
    "DICT": _dict,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "INST": _instance,
    "OBJ": _object,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _reduce),
    "NEWOBJ_EX": _new_object_with_names,
    "BUILD": lambda machine, _: machine.build(),
    "MARK": lambda machine, _: machine.mark(),
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": lambda machine, _: machine.push(machine.top()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, at: machine.keep(at)),
    "MEMOIZE": lambda machine, _: machine.keep(len(machine.memo)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, at: machine.kept(at)),
}


def _size(opcode: Any) -> int:
    """The bytes of its argument, where that is none or a number of one byte; else -1, and it has to be read."""
    if opcode.arg is None:
        return 0
    return 1 if opcode.arg.name == "uint1" else -1


_TABLE = {each.code.encode("latin-1"): (each, _ACTIONS.get(each.name), _size(each)) for each in pickletools.opcodes}
