"""The bodies of `askance spend` and `askance teach --dry-run`: what was spent, and what is going to be."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from askance import assembly, forecast, settings
from askance.cli.run import flags_of, overrides_of
from askance.errors import UsageError
from askance.rules import audit
from askance.rules.spend import money

if TYPE_CHECKING:
    from pathlib import Path

    from askance.calls import SpendRow

KEYS = ("day", "model", "version", "label")


def show_spend(config: Path | None, state: Path | None, by: str, *, json: bool) -> None:
    """Print what was spent by one key, and where the caps stand."""
    if by not in KEYS:
        msg = f"--by {by}: the spend is known by {', '.join(KEYS)}"
        raise UsageError(msg)
    loaded = settings.load(config, {} if state is None else {"state": state}, looks_back=True)
    if not assembly.ledger_path(loaded, "teach").exists():
        msg = f"there is no ledger in {loaded.state}, so nothing was spent; name another folder with --state"
        raise UsageError(msg)
    today = datetime.fromtimestamp(time.time(), UTC).date().isoformat()
    with assembly.ledger(loaded, "teach") as ledger:
        rows = ledger.spend_report("teacher" if by == "model" else by)
        day, total, unpaid = ledger.spent(f"day {today}"), ledger.spent(), ledger.unpaid()
    # A price of 0 is one, and nobody can tell by the sums.
    free = any(price.input == price.output == 0.0 for price in loaded.spend.prices.values())
    if json:
        sums = {"rows": rows, "today": day, "total": total}
        told = {name: _unpriced(msgspec.to_builtins(sums[name]), free=free) for name in sums}
        typer.echo(msgspec.json.encode({"by": by, **told, "unpaid": unpaid}).decode())
        return
    heads = (by, "calls", "documents", "prompt tokens", "completion tokens", "cost")
    _print_table([heads, *(_cells(row, free=free) for row in rows)])
    # Calls under way count at their worst until they end.
    typer.echo(
        f"today {_cost(day.nanos, day.tokens, free=free)} in {day.calls:,} calls, "
        f"in total {_cost(total.nanos, total.tokens, free=free)} in {total.calls:,} calls"
    )
    if unpaid:
        typer.echo("labels at no cost: " + ", ".join(f"{count:,} {why}" for why, count in unpaid.items()))


def show_audits(config: Path | None, state: Path | None, *, json: bool) -> None:
    """Print how far the teacher agrees with itself, by label and by its confidence."""
    loaded = settings.load(config, {} if state is None else {"state": state}, looks_back=True)
    if not assembly.ledger_path(loaded, "teach").exists():
        msg = f"there is no ledger in {loaded.state}, so nothing was audited; name another folder with --state"
        raise UsageError(msg)
    with assembly.ledger(loaded, "teach") as ledger:
        audits = ledger.audits()
    copies = audit.agreement(one for one in audits if one.likeness is not None)
    audits = [one for one in audits if one.likeness is None]
    overall, classes, table = audit.agreement(audits), audit.by_class(audits), audit.calibration(audits)
    teachers = audit.by_teacher(audits)
    if json:
        found = {"agreement": overall, "by_label": classes, "by_teacher": teachers, "calibration": table}
        typer.echo(msgspec.json.encode(found | {"near_duplicates": copies}).decode())
        return
    apart = [_agreed(*row) for row in teachers.items()] if len(teachers) > 1 else []
    apart += [_agreed("near-duplicates", copies)] if copies.audits else []
    if apart:
        _print_table([("labels of", "audits", "agreed", "95 % interval"), *apart])
    if not audits:
        typer.echo("no label was asked for again yet; teacher.audit_share says how many are")
        return
    _print_table([("label", "audits", "agreed", "95 % interval"), *(_agreed(*row) for row in classes.items())])
    _print_table([_agreed("all", overall)])
    if table:
        rows = [
            (f"{row.source} {row.low:g}-{row.high:g}", f"{row.mean_confidence:.3f}", *_agreed("", row.agreement)[1:])
            for row in table
        ]
        _print_table([("confidence", "mean", "audits", "agreed", "95 % interval"), *rows])


def _agreed(name: str, found: audit.Agreement) -> tuple[str, ...]:
    return (name, f"{found.audits:,}", f"{found.value:.1%}", f"{found.low:.1%} to {found.high:.1%}")


def show_forecast(context: typer.Context) -> None:
    """Print what asking costs per 1,000 documents of the source."""
    params = context.params
    config = settings.load(params["config"], overrides_of(params), flags=flags_of(context))
    expected = forecast.forecast(config)
    typer.echo(msgspec.json.encode(expected).decode() if params["json"] else "\n".join(expected.lines()))


def _cost(nanos: int, tokens: int, *, free: bool) -> str:
    return "unknown" if tokens and not nanos and not free else money(nanos)


def _unpriced(sums: Any, *, free: bool) -> Any:
    """The same with null for what was never priced."""
    if isinstance(sums, list):
        return [_unpriced(row, free=free) for row in sums]
    tokens = sums["tokens"] if "tokens" in sums else sums["prompt_tokens"] + sums["completion_tokens"]
    return sums | {"nanos": None} if tokens and not sums["nanos"] and not free else sums


def _cells(row: SpendRow, *, free: bool) -> tuple[str, ...]:
    numbers = (row.calls, row.documents, row.prompt_tokens, row.completion_tokens)
    cost = _cost(row.nanos, row.prompt_tokens + row.completion_tokens, free=free)
    return (row.key, *(f"{number:,}" for number in numbers), cost)


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        typer.echo("  ".join(cells).rstrip())
