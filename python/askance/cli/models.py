"""The bodies of `askance models`: list, show, promote, roll back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import typer

from askance import assembly, settings
from askance.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from askance.manifest import Estimate, Manifest
    from askance.registry import StoredRegistry


def list_versions(config: Path | None, state: Path | None, *, json: bool) -> None:
    """Print every version, oldest first, the live one marked."""
    registry = _open(config, state)
    live, versions = registry.current(), registry.versions()
    if json:
        _print_json([{"live": manifest.version == live} | msgspec.to_builtins(manifest) for manifest in versions])
    elif not versions:
        typer.echo(f"no versions yet in {registry.location}")
    else:
        _print_table([("", "version", "created", "student", "labels", "agreement", "verdict"), *_rows(versions, live)])


def show_version(config: Path | None, state: Path | None, version: str | None, *, json: bool) -> None:
    """Print one version's manifest, the live one's by default, once its files proved whole."""
    registry = _open(config, state)
    live = registry.current()
    version = version or live
    if version is None:
        msg = f"no version is live in {registry.location}; name one (`askance models list`)"
        raise UsageError(msg)
    manifest = registry.manifest(version)
    path = registry.verified(version)
    if json:
        _print_json({"live": version == live, "path": str(path)} | msgspec.to_builtins(manifest))
        return
    _print_table(
        [
            ("version", f"{version}{' (live)' if version == live else ''}"),
            ("folder", str(path)),
            ("created", manifest.created_at),
            ("student", f"{manifest.student}, {_reads(manifest)}"),
            ("labels", f"set {manifest.label_set}, {len(manifest.labels)}: {', '.join(manifest.labels)}"),
            ("trained on", f"{manifest.trained_on:,} labels; {manifest.held_out:,} held out"),
            ("agreement", _estimate(manifest.agreement)),
            ("verdict", f"{'promoted' if manifest.verdict.promoted else 'not promoted'}: {manifest.verdict.why}"),
            ("parent", manifest.parent or "none"),
            *([("started from", manifest.started_from)] if manifest.started_from else []),
            ("temperature", f"{manifest.temperature:.3f}"),
            ("parity error", f"{manifest.parity_error:.1e}"),
            ("trained from", manifest.training_digest),
            *(("file", f"{digest}  {name}") for name, digest in manifest.files.items()),
        ]
    )


def promote_version(config: Path | None, state: Path | None, version: str, *, json: bool) -> None:
    """Make a version the live one."""
    registry = _open(config, state)
    before = registry.current()
    # What cannot be served is not made live.
    assembly.load(registry, version)
    registry.promote(version)
    _print_change(version, before, json=json)


def roll_back(config: Path | None, state: Path | None, *, json: bool) -> None:
    """Make the previous live version live again."""
    registry = _open(config, state)
    before = registry.current()
    _print_change(registry.rollback(), before, json=json)


def _open(config: Path | None, state: Path | None) -> StoredRegistry:
    overrides = {} if state is None else {"state": state}
    loaded = settings.load(config, overrides, flags={"state": "--state"}, looks_back=True)
    return assembly.registry(loaded, on_warning=lambda line: typer.echo(f"askance: {line}", err=True))


def _rows(versions: list[Manifest], live: str | None) -> list[tuple[str, ...]]:
    return [
        (
            "*" if manifest.version == live else "",
            manifest.version,
            manifest.created_at[:19].replace("T", " "),
            manifest.student,
            f"{manifest.trained_on + manifest.held_out:,}",
            _estimate(manifest.agreement),
            "promoted" if manifest.verdict.promoted else "not promoted",
        )
        for manifest in versions
    ]


def _reads(manifest: Manifest) -> str:
    if manifest.features == "hashed":
        return f"2^{manifest.featurizer.bits} buckets, n-grams up to {manifest.featurizer.ngram_max} words"
    source = f"vectors of {manifest.encoder.name}" if manifest.encoder else f"from {manifest.base}"
    exact = "" if manifest.exact_replay else ", a replay is not exact"
    return f"{source}, {manifest.max_tokens} tokens at most{', 8 bits' if manifest.int8 else ''}{exact}"


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "too few labels"
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def _print_json(value: object) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _print_change(version: str, before: str | None, *, json: bool) -> None:
    if json:
        _print_json({"live": version, "before": before})
    else:
        typer.echo(f"{version} is live (before: {before or 'none'})")
