"""Reads Prometheus text, strictly: what is no sample, or is said twice, fails."""

import re

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\.)*",?)+\})? (\S+)$')
SUFFIXES = re.compile("_(bucket|sum|count)$")


def parse(text):
    """{`name{labels}`: value}."""
    samples, types = {}, {}
    if text and not text.endswith("\n"):
        raise ValueError("the last line does not end")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split(" ")[2:]
            if name in types:
                raise ValueError(f"{name} has two types")
            types[name] = kind
            continue
        if not line or line.startswith("#"):
            continue
        found = SAMPLE.match(line)
        if not found:
            raise ValueError(f"no sample: {line}")
        name, labels, value = found.groups()
        if name not in types and types.get(SUFFIXES.sub("", name)) not in ("histogram", "summary"):
            raise ValueError(f"{name} has no type before it")
        if name + (labels or "") in samples:
            raise ValueError(f"twice: {line}")
        samples[name + (labels or "")] = float(value)
    return samples


def read(path):
    with open(path, encoding="utf-8") as file:
        return parse(file.read())
