#!/usr/bin/env python3
"""House rules that a compiler does not check. Usage: tidy.py includes|headers|sizes|words|all [--root DIR]

A line may break a rule with a reason, on the same line or the one before:  // tidy-allow(RULE): why
"""

import argparse
import os
import re
import sys
from pathlib import Path, PurePosixPath

SOURCE_SUFFIXES = {".hpp", ".cpp", ".h", ".cc", ".ipp"}
TEXT_SUFFIXES = SOURCE_SUFFIXES | {".py", ".cmake", ".txt", ".md", ".proto", ".json", ".sh", ".yaml", ".yml", ".supp"}
TEXT_NAMES = {"run", ".clang-tidy", ".clang-format", ".gitignore", ".editorconfig"}
SKIPPED_FOLDERS = {".git", ".cache", "__pycache__", "corpus"}

PUBLIC_MODULES = ("bus", "transport", "connector")

LINES_WARN = 500
LINES_MAX = 800

# Who may include whom (docs: README of each module). Key and values are folders; the longest matching folder decides,
# and a folder always includes itself. Folders of transport/ that are not named here are adapters: see ADAPTER.
MAY_INCLUDE = {
    "bus/base": set(),
    "bus": {"bus/base"},
    "proto": set(),
    # The contract, the message structs and the memory transport are one module, sharingbus::transport.
    "transport": {"bus/base", "bus", "transport"},
    "transport/codec": {"bus/base", "bus", "transport", "proto"},
    # What every adapter may use: one way to do TLS, and one to go through proxies.
    "transport/tls": {"bus/base"},
    "transport/proxy": {"bus/base", "bus", "transport", "transport/tls"},
    # The codec is no transport: it hands a byte transport the wire form of the messages that a connector speaks.
    "connector": {"bus/base", "bus", "transport", "transport/codec", "connector"},
}
TRANSPORT_COMMON = {"transport/memory", "transport/messages", "transport/detail", "transport/internal"}
# The codec, the byte streams and TLS are no transports, but what transports are made of.
ADAPTER = {"bus/base", "bus", "transport", "transport/codec", "transport/byte_stream", "transport/tls"}
SEES_EVERYTHING = ("cli", "tests", "examples", "bench")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
ALLOW = re.compile(r"tidy-allow\(([a-z-]+)\):\s*\S")

# Third-party headers that only some folders may see: name, pattern, and who may. The test is the path in the tree.
THIRD_PARTY = [
    ("Asio", re.compile(r"^boost/(asio|beast)(/|\.hpp)"),
     lambda p: not p.startswith("bus/") or re.match(r"bus/((detail|internal)/)?async\w*\.(hpp|cpp)$", p)),
    ("gRPC", re.compile(r"^(grpc|grpcpp|grpc\+\+)/"),
     lambda p: not p.startswith(("bus/", "connector/")) and (not p.startswith("transport/") or p.startswith("transport/grpc/"))),
    ("Protobuf", re.compile(r"^google/protobuf/|\.pb\.h$"),
     lambda p: not p.startswith(("bus/", "connector/", "transport/", "cli/", "examples/"))
     or (p.startswith("transport/codec/") and (p.endswith(".cpp") or is_private(p)))),
    ("CLI11 and yaml-cpp", re.compile(r"^(CLI|yaml-cpp)/"),
     lambda p: not p.startswith(("bus/", "connector/", "transport/"))),
]
NOT_IN_PUBLIC_HEADERS = re.compile(
    r"^(spdlog|fmt|absl|grpc|grpcpp|grpc\+\+|google/protobuf|prometheus|CLI|yaml-cpp)/|\.pb\.h$")

# Rule, pattern, what to do instead, and which files it covers.
WORDS = [
    ("todo", re.compile(r"TODO\(now\)|\bFIXME\b|\bXXX\b"), "fix it, or TODO(soon|someday|perf|test): …", lambda p: True),
    ("detached", re.compile(r"\basio::detached\b"), "spawn through a gate that reports failure",
     lambda p: p.suffix in SOURCE_SUFFIXES),
    ("thread-detach", re.compile(r"\.detach\(\)"), "join it", lambda p: p.suffix in SOURCE_SUFFIXES),
    ("sleep", re.compile(r"\bsleep_(for|until)\b|\b(usleep|nanosleep)\("), "virtual time, or support's poll_until",
     lambda p: p.suffix in SOURCE_SUFFIXES and p.parts[0] == "tests"
     and (len(p.parts) < 2 or p.parts[1] not in ("integration", "stress", "support", "interop"))),
    ("machine-path", re.compile(r"(?<![\w.:/-])/(home/\w|root/|Users/\w|work/)"), "a path relative to the tree",
     lambda p: p.name != "LICENSE"),
]


def is_private(path):
    return bool({"detail", "internal"} & set(PurePosixPath(path).parts[:-1]))


def is_public_header(path):
    return path.endswith(".hpp") and path.split("/")[0] in PUBLIC_MODULES and not is_private(path)


def folder_of(path):
    """The row of the include table that a file belongs to."""
    parts = PurePosixPath(path).parts
    if parts[0] == "bus":
        return "bus/base" if len(parts) > 2 and parts[1] == "base" else "bus"
    if parts[0] == "transport":
        below = "/".join(parts[:2]) if len(parts) > 2 else "transport"
        return "transport" if below in TRANSPORT_COMMON else below
    return parts[0]


def allowed_folders(folder):
    if folder.startswith("transport/") and folder not in MAY_INCLUDE:
        return ADAPTER | {folder}
    return MAY_INCLUDE.get(folder, set()) | {folder}


class Tree:
    """The files of the repository, untracked ones included, build trees not."""

    def __init__(self, root):
        self.root = Path(root)

    def files(self):
        for folder, folders, names in os.walk(self.root):
            here = Path(folder).relative_to(self.root)
            folders[:] = sorted(f for f in folders
                                if f not in SKIPPED_FOLDERS and not (here == Path(".") and f.startswith("build")))
            for name in sorted(names):
                path = here / name
                if path.suffix in TEXT_SUFFIXES or name in TEXT_NAMES:
                    yield path

    def sources(self):
        return (p for p in self.files() if p.suffix in SOURCE_SUFFIXES)

    def lines(self, path):
        return (self.root / path).read_text(encoding="utf-8", errors="replace").splitlines()


def allows(lines, index, rule):
    for line in lines[max(0, index - 1):index + 1]:
        found = ALLOW.search(line)
        if found and found.group(1) == rule:
            return True
    return False


def include_error(path, target, quoted):
    """What is wrong with `path` including `target`, or None."""
    for name, pattern, may in THIRD_PARTY:
        if pattern.search(target) and not may(path):
            return f"{name} must not be included here"
    if is_public_header(path) and NOT_IN_PUBLIC_HEADERS.search(target):
        return "public headers name no type of this library"
    top = target.split("/")[0]
    if top not in PUBLIC_MODULES + SEES_EVERYTHING + ("proto",):
        return None
    if not quoted:
        return "our own headers are included with quotes"
    own, other = folder_of(path), folder_of(target)
    if own.split("/")[0] in SEES_EVERYTHING:
        if top in SEES_EVERYTHING and top != own.split("/")[0]:
            return f"{own} must not include {top}"
        if own in ("cli", "examples") and is_private(target) and top != own:
            return "detail/ and internal/ belong to their module"
        return None
    if other not in allowed_folders(own):
        return f"{own} must not include {other}"
    if "internal" in PurePosixPath(target).parts[:-1] and is_public_header(path):
        return "a public header must not include internal/"
    if is_private(target) and own.split("/")[0] != other.split("/")[0]:
        return "detail/ and internal/ belong to their module"
    return None


def check_includes(tree, report):
    for path in tree.sources():
        if path.parts[:2] == ("tests", "consume"):
            continue
        lines = tree.lines(path)
        for i, line in enumerate(lines):
            found = INCLUDE.match(line)
            if not found:
                continue
            quoted, target = found.group(1) == '"', found.group(2)
            if quoted and (target.startswith(".") or "/" not in target) and not allows(lines, i, "includes"):
                report(path, i + 1, f'"{target}": include by the path from the root')
                continue
            error = include_error(path.as_posix(), target, quoted)
            if error and not allows(lines, i, "includes"):
                report(path, i + 1, f"{target}: {error}")


def check_headers(tree, report, installed=None):
    """#pragma once everywhere; public headers, and what they include, are installed and so compiled alone."""
    for path in tree.sources():
        if path.suffix != ".hpp":
            continue
        code = [l for l in tree.lines(path) if l.strip() and not l.lstrip().startswith("//")]
        if not code or code[0].strip() != "#pragma once":
            report(path, 1, "the first line of code must be #pragma once")
        if installed is not None and is_public_header(path.as_posix()) and path.as_posix() not in installed:
            report(path, 1, "public header missing in PUBLIC_HEADERS of its sharingbus_library")
        if installed is not None and path.as_posix() in installed:
            for i, line in enumerate(tree.lines(path)):
                found = INCLUDE.match(line)
                if found and found.group(1) == '"' and found.group(2) not in installed:
                    report(path, i + 1, f"{found.group(2)} is missing in PUBLIC_HEADERS: an installed header includes it")


def read_size_exceptions(text):
    """path: reason, one a line."""
    exceptions = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            path, _, reason = line.partition(":")
            exceptions[path.strip()] = reason.strip()
    return exceptions


def check_sizes(tree, report, exceptions=None):
    if exceptions is None:
        listed = tree.root / "tests/tidy/size_exceptions.txt"
        exceptions = read_size_exceptions(listed.read_text(encoding="utf-8")) if listed.exists() else {}
    for path in tree.files():
        if path.suffix not in SOURCE_SUFFIXES | {".py", ".cmake", ".proto"}:
            continue
        count = len(tree.lines(path))
        if count > LINES_MAX and not exceptions.get(path.as_posix()):
            report(path, 1, f"{count} lines; split it, or give a reason in tests/tidy/size_exceptions.txt")
        elif count > LINES_WARN:
            print(f"warning: {path}: {count} lines (split near 600)")
    for path in exceptions:
        if not (tree.root / path).exists():
            report(Path("tests/tidy/size_exceptions.txt"), 1, f"{path} does not exist")


def check_words(tree, report):
    for path in tree.files():
        if path.parts[:2] == ("tests", "tidy"):
            continue
        rules = [r for r in WORDS if r[3](path)]
        lines = tree.lines(path)
        for i, line in enumerate(lines):
            for rule, pattern, instead, _ in rules:
                if pattern.search(line) and not allows(lines, i, rule):
                    report(path, i + 1, f"{rule}: {line.strip()[:80]}: {instead}")


def run_check(name, tree, installed):
    errors = []

    def report(path, line, text):
        errors.append(f"{path}:{line}: {text}")

    if name == "headers":
        check_headers(tree, report, installed)
    else:
        {"includes": check_includes, "sizes": check_sizes, "words": check_words}[name](tree, report)
    return errors


def main():
    checks = ["includes", "headers", "sizes", "words"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=checks + ["all"])
    parser.add_argument("--root", default=Path(__file__).resolve().parents[2])
    parser.add_argument("--public-headers", type=Path, help="list of installed headers, written by CMake")
    options = parser.parse_args()
    installed = set(options.public_headers.read_text().split()) if options.public_headers else None

    errors = []
    for name in checks if options.check == "all" else [options.check]:
        errors += run_check(name, Tree(options.root), installed)
    for error in errors:
        print(error)
    print(f"tidy {options.check}: {len(errors)} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
