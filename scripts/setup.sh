#!/usr/bin/env bash
# Make the virtual environment $1: find Python >= 3.11 and a JDK >= 17 (install what the package manager can), install the
# pinned packages and the package itself, and fetch the Delta jar once. Says exactly what to install where it cannot.
set -euo pipefail
venv=${1:?usage: scripts/setup.sh VENV}
cd "$(dirname "$0")/.."
lock=requirements/lock.txt
log=$(mktemp "${TMPDIR:-/tmp}/sparkds-setup.XXXXXX")
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }

# what the command prints is shown only when it fails
quietly() { "$@" >"$log" 2>&1 || { tail -n 40 "$log" >&2; return 1; }; }

# --- what is there

good_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
has_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

find_python() { # known to work with the pins: 3.11 and 3.12; one that can make a virtual environment comes first
    local name path found=""
    for name in python3.12 python3.11 python3.13 python3 python; do
        if ! path=$(command -v "$name") || ! good_python "$path"; then continue; fi
        if has_venv "$path"; then echo "$path"; return; fi
        found=${found:-$path}
    done
    [ -n "$found" ] && echo "$found"
}

java_major() { "$1/bin/java" -version 2>&1 | sed -nE 's/.*version "([0-9]+).*/\1/p' | head -n 1; }

good_java() {
    [ -x "$1/bin/java" ] || return 1
    local major
    major=$(java_major "$1")
    [ "${major:-0}" -ge 17 ]
}

java_homes() { # JAVA_HOME, the PATH, the usual places
    if [ -n "${JAVA_HOME:-}" ]; then echo "$JAVA_HOME"; fi
    local java
    if java=$(command -v java); then
        java=$(readlink -f "$java" 2>/dev/null || echo "$java")
        dirname "$(dirname "$java")"
    fi
    if [ -x /usr/libexec/java_home ]; then /usr/libexec/java_home -v 17+ 2>/dev/null || true; fi
    printf '%s\n' /usr/lib/jvm/*17* /usr/lib/jvm/*21* /usr/lib/jvm/* \
        {/opt/homebrew,/usr/local}/opt/openjdk@{17,21}/libexec/openjdk.jdk/Contents/Home \
        {/opt/homebrew,/usr/local}/opt/openjdk/libexec/openjdk.jdk/Contents/Home \
        "$HOME"/.sdkman/candidates/java/*
}

find_java() {
    local home
    while IFS= read -r home; do
        if good_java "$home"; then echo "$home"; return; fi
    done < <(java_homes)
    return 1
}

# --- what the package manager can add

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo "$@"
    else return 1
    fi
}

updated=""
apt_install() { # the first of the named packages that the system knows
    command -v apt-get >/dev/null && as_root true || return 1
    if [ -z "$updated" ]; then
        quietly as_root apt-get update -qq || say "apt-get update failed in part; going on with the lists that are there"
        updated=yes
    fi
    local package
    for package in "$@"; do
        apt-cache show "$package" >/dev/null 2>&1 || continue
        say "installing $package"
        quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$package"
        return
    done
    return 1
}

brew_install() {
    command -v brew >/dev/null || return 1
    say "installing $1 with Homebrew"
    quietly brew install "$1"
}

missing=()
if ! python=$(find_python); then
    apt_install python3.12 python3.11 || brew_install python@3.12 || true
    python=$(find_python) || missing+=(
        "Python 3.11 or newer was not found (python3.12, python3.11, python3.13, python3 and python were tried)."
        "    Debian 12:              sudo apt-get install python3.11 python3.11-venv"
        "    Ubuntu 24.04:           sudo apt-get install python3.12 python3.12-venv"
        "    Fedora, RHEL:           sudo dnf install python3.12"
        "    macOS:                  brew install python@3.12"
    )
fi
if [ -n "$python" ] && ! has_venv "$python" && ! command -v uv >/dev/null; then
    package=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
    apt_install "$package" || true
    has_venv "$python" || missing+=(
        "$python cannot make virtual environments (its module ensurepip is missing)."
        "    Debian, Ubuntu:         sudo apt-get install $package"
    )
fi
if ! java_home=$(find_java); then
    apt_install openjdk-17-jre-headless openjdk-21-jre-headless default-jre-headless || brew_install openjdk@17 || true
    java_home=$(find_java) || missing+=(
        "A Java runtime, version 17 or newer, was not found (JAVA_HOME, the PATH and the usual places were tried)."
        "    Debian 12, Ubuntu:      sudo apt-get install openjdk-17-jre-headless"
        "    Debian 13:              sudo apt-get install openjdk-21-jre-headless"
        "    Fedora, RHEL:           sudo dnf install java-21-openjdk-headless"
        "    macOS:                  brew install openjdk@17"
        "    or set JAVA_HOME to the one you have"
    )
fi
[ ${#missing[@]} = 0 ] || fail "${missing[@]}" "Then call make again."

# --- packages, as pinned

if ! { [ -x "$venv/bin/python" ] && good_python "$venv/bin/python"; }; then
    if command -v uv >/dev/null; then quietly uv venv --clear --seed --python "$python" "$venv"
    else quietly "$python" -m venv --clear "$venv"
    fi
fi
say "python $("$venv/bin/python" -c 'import platform; print(platform.python_version())'), java $(java_major "$java_home") in $java_home"
say "installing the packages of $lock (1 GB on disk, Spark is most of it; a minute or two)"
if command -v uv >/dev/null; then install=(uv pip install --compile-bytecode --python "$venv/bin/python")
else install=("$venv/bin/python" -m pip install --disable-pip-version-check --no-input)
fi
build_tools=()
while IFS= read -r pin; do build_tools+=("$pin"); done < <(grep -oE '^(setuptools|wheel)==[^ ;]+' "$lock")
quietly "${install[@]}" "${build_tools[@]}"
quietly "${install[@]}" --no-build-isolation -r "$lock" # built with the pinned tools, where a wheel must be built
quietly "${install[@]}" --no-build-isolation --no-deps -e .
{
    # shellcheck disable=SC2016
    printf 'export JAVA_HOME=%q PATH=%q:"$PATH"\n' "$java_home" "$java_home/bin"
    printf 'unset SPARK_HOME PYTHONPATH # another Spark on this machine is not the pinned one\n'
} >"$venv/java.env"

# --- the Delta jar, once, into the ordinary ivy cache

say "fetching the Delta jar"
# shellcheck disable=SC1091
source "$venv/java.env"
unset SPARK_REMOTE MASTER
quietly "$venv/bin/python" - <<'PY' || fail "the Delta jar could not be fetched"
from sparkds.sessions import session

spark = session("setup", kind="classic", master="local[1]")
assert spark.range(3).count() == 3
spark.stop()
PY
say "ready"
