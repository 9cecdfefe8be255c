"""The section of docs/reference/benchmarks.md about the GPU."""

from __future__ import annotations

from typing import Any

from benchmarks.page import describe, paragraph, table

#: Names of the parts of each table, by their key in the JSON file.
READING = {"reading-small": "1×28×28", "reading-large": "3×224×224"}
RESUME = {"resume-fp32": "32-true", "resume-bf16": "bf16-mixed", "resume-fp16": "16-mixed"}


def section(results: dict[str, Any]) -> list[str]:
    """Return the lines of the section, with the parts that were measured."""
    parts = results["parts"]
    lines = paragraph(f"One {results['card']}, {results['date']}. {describe(results['machine'])}")
    if "throughput" in parts:
        lines += ["", *_throughput(parts["throughput"])]
    if measured := {name: parts[key] for key, name in READING.items() if key in parts}:
        lines += ["", *_reading(measured)]
    if measured := {name: parts[key] for key, name in RESUME.items() if key in parts}:
        lines += ["", *_resume(measured)]
    if measured := {key.removeprefix("zoo-"): part for key, part in parts.items() if key.startswith("zoo-")}:
        lines += ["", *_zoo(measured)]
    return lines


def _throughput(part: dict[str, Any]) -> list[str]:
    text = (
        f"ResNet-18 on 3×224×224 images that are on the device, in batches of {part['batch']}. Utilization is the "
        "number of floating-point operations per second, as torch counts them, divided by the card's stated peak in "
        "bfloat16."
    )
    rows = [[name, f"{rate:,.0f}", ""] for name, rate in part["images_per_s"].items()]
    rows[-1][-1] = _percent(part["bf16_utilization"])
    return ["### Training step", "", *paragraph(text), "", *table(["", "images/s", "utilization"], rows)]


def _reading(parts: dict[str, Any]) -> list[str]:
    text = (
        "ResNet-18 in bfloat16 on batches of the data module, scaled on the device, in turns with one batch that stays "
        "on the device. Medians; the floor is 0.97 of the synthetic data. The GPU waits for what is missing to the "
        "rate with synthetic data."
    )
    rows = []
    for name, part in parts.items():
        for source, figures in part["images_per_s"].items():
            verdict = "reached" if figures["reached"] else "**missed**"
            rows.append(
                [
                    f"{name}, {source}",
                    f"{figures['images_per_s']:,.0f}",
                    f"{figures['of_synthetic']:.3f}, {verdict}",
                    _percent(figures["waits"]),
                    _percent(figures["utilization"]),
                ]
            )
    head = ["", "images/s", "of synthetic data", "the GPU waits", "utilization"]
    return ["### Reading into the GPU", "", *paragraph(text), "", *table(head, rows)]


def _resume(parts: dict[str, Any]) -> list[str]:
    text = (
        "A CNN is stopped by SIGUSR2, resumed, and compared with an undisturbed run: weights, optimizer, random "
        "states, journal and result."
    )
    rows = [
        [name, f"{part['stopped_at']} of {part['steps']}", "; ".join(part["differences"][:3]) or "identical"]
        for name, part in parts.items()
    ]
    return ["### Resume", "", *paragraph(text), "", *table(["precision", "stopped at step", "result"], rows)]


def _zoo(parts: dict[str, Any]) -> list[str]:
    rows = []
    for name, part in parts.items():
        verdict = "reached" if part["reached"] else "**missed**"
        rows.append([name, f"{part['metric']} {part['values'][0]:.4g}, {verdict}", f"{part['seconds']:.0f} s"])
    return ["### Zoo", "", *table(["experiment", "result", "time"], rows)]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
