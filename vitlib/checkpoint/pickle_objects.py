"""Stand-ins for the classes that a pickle may name: they hold what the file says and do nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import WeightsError, quoted

Make = Callable[[tuple[Any, ...], Callable[[int], None]], Any]


class Inert:
    """An object of a class that is not rebuilt: its name, its arguments, its items and its state, as data.

    Equality and hashing are by identity and there is no repr of contents, so nesting and cycles cannot recurse.
    """

    __slots__ = ("arguments", "items", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.name = name
        self.arguments = arguments
        self.items: list[Any] = []
        self.state: Any = None

    def set_state(self, state: Any) -> None:
        """What BUILD does: the state is kept, no `__setstate__` exists."""
        self.state = state


class LongText:
    """Text too long for a name; as in the file, UTF-8 and not yet checked."""

    __slots__ = ("utf8",)

    def __init__(self, utf8: memoryview) -> None:
        self.utf8 = utf8


class Constructor:
    """What a class or function of a pickle stands for.

    `make(arguments, spend)` must take constant time and memory, or `spend` what it needs: it can be called by two
    bytes of a file, on arguments of any size.
    """

    __slots__ = ("make", "name")

    def __init__(self, name: str, make: Make | None = None) -> None:
        self.name = name
        self.make: Make = make or (lambda arguments, spend: Inert(name, arguments))


def make_dict(arguments: tuple[Any, ...], spend: Callable[[int], None]) -> dict[Any, Any]:
    """dict() or OrderedDict(), also from the list of pairs that Python 2 wrote."""
    table: dict[Any, Any] = {}
    if not arguments:
        return table
    pairs = arguments[0]
    if len(arguments) != 1 or type(pairs) is not list:
        raise WeightsError("holds a corrupt pickle: a table made from something else than pairs")
    spend(128 * len(pairs))
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2 or type(pair[0]) is not str:
            raise WeightsError("holds a corrupt pickle: a table made from something else than pairs")
        if pair[0] in table:
            raise WeightsError(f"names {quoted(pair[0])} twice")
        table[pair[0]] = pair[1]
    return table


def make_default_dict(arguments: tuple[Any, ...], spend: Callable[[int], None]) -> dict[Any, Any]:
    """defaultdict(factory): the factory is dropped."""
    return {}


def make_tuple(arguments: tuple[Any, ...], spend: Callable[[int], None]) -> Any:
    """tuple((name, array)), by which Paddle writes a tensor with its name."""
    if len(arguments) == 1 and type(arguments[0]) is tuple:
        return arguments[0]
    return Inert("tuple", arguments)


def make_bytes(arguments: tuple[Any, ...], spend: Callable[[int], None]) -> Any:
    """bytes(), by which protocol 2 writes empty ones."""
    return Inert("bytes", arguments) if arguments else memoryview(b"")


def constructors_by_name(names: str) -> dict[tuple[str, str], Constructor]:
    """Inert constructors for lines of "module: name name ..."."""
    table = {}
    for line in names.split("\n"):
        module, _, classes = line.strip().partition(": ")
        for name in classes.split():
            table[module, name] = Constructor(f"{module}.{name}")
    return table


# What training scripts leave beside the weights: options, paths, dates, counters, random states, schedules.
TRAINING_STATE: dict[tuple[str, str], Constructor] = constructors_by_name(
    """argparse: Namespace
    types: SimpleNamespace
    typing: Any Union Optional List Dict Tuple
    builtins: set frozenset list dict bytearray complex slice range int float bool str object
    __builtin__: set frozenset list dict bytearray complex slice xrange int long float bool str unicode object
    copyreg: _reconstructor
    copy_reg: _reconstructor
    collections: Counter deque
    datetime: datetime date time timedelta timezone
    pathlib: Path PurePath PosixPath PurePosixPath WindowsPath PureWindowsPath
    pathlib._local: Path PurePath PosixPath PurePosixPath WindowsPath PureWindowsPath
    uuid: UUID SafeUUID
    decimal: Decimal
    fractions: Fraction
    easydict: EasyDict
    addict.addict: Dict
    yacs.config: CfgNode
    mmcv.utils.config: ConfigDict
    mmengine.config.config: ConfigDict
    mmengine.logging.history_buffer: HistoryBuffer
    pytorch_lightning.utilities.parsing: AttributeDict
    lightning_fabric.utilities.data: AttributeDict
    lightning.fabric.utilities.data: AttributeDict
    omegaconf.dictconfig: DictConfig
    omegaconf.listconfig: ListConfig
    omegaconf.base: Metadata ContainerMetadata
    omegaconf.nodes: AnyNode StringNode IntegerNode FloatNode BooleanNode EnumNode PathNode BytesNode
    numpy.random: __RandomState_ctor
    numpy.random._pickle: __randomstate_ctor __generator_ctor __bit_generator_ctor
    numpy.random._mt19937: MT19937
    numpy.random._pcg64: PCG64
    numpy.random.mtrand: RandomState
    torch.optim.sgd: SGD
    torch.optim.adam: Adam
    torch.optim.adamw: AdamW
    torch.optim.lr_scheduler: LambdaLR StepLR MultiStepLR CosineAnnealingLR OneCycleLR SequentialLR LinearLR
    torch.optim.optimizer: _RequiredParameter"""
) | {
    ("collections", "OrderedDict"): Constructor("collections.OrderedDict", make_dict),
    ("collections", "defaultdict"): Constructor("collections.defaultdict", make_default_dict),
    ("builtins", "tuple"): Constructor("tuple", make_tuple),
    ("__builtin__", "tuple"): Constructor("tuple", make_tuple),
    ("builtins", "bytes"): Constructor("bytes", make_bytes),
    ("__builtin__", "bytes"): Constructor("bytes", make_bytes),
}

_SAVE_PLAIN = "Where you trust the file, load it with the library that made it and save only the model's state_dict"


def refusal(module: str, name: str) -> WeightsError:
    """The error for a class or function that is not in the table."""
    full = f"{module}.{name}" if module else name
    shown = quoted(full)[1:-1]
    if module.startswith(("torch.ao.", "torch.nn.quantized", "torch.nn.intrinsic")) or "quant" in full.lower():
        return WeightsError(
            f"holds a quantised PyTorch model (`{shown}`), whose integers are not weights of a Vision Transformer",
            way_out="Save the state_dict of the model before quantisation",
        )
    if module == "torch.storage" and name == "_load_from_bytes":
        return WeightsError(
            "was written by pickle.dump instead of torch.save, which hides each tensor in a pickle of its own",
            way_out=_SAVE_PLAIN,
        )
    if module.startswith(
        ("torch.nn.modules", "torch.nn.parallel", "timm.models", "torchvision.models", "transformers.")
    ):
        return WeightsError(
            f"holds a whole pickled model (`{shown}`), which only its own code can rebuild", way_out=_SAVE_PLAIN
        )
    return WeightsError(
        f"refuses to run `{shown}`: weights are data, and this file asks for code to be called", way_out=_SAVE_PLAIN
    )
