#!/usr/bin/env bash
# Make the virtual environment $1: find Python >= 3.11 and a JDK >= 17 (install what the package manager can), install the
# pinned packages and the package itself, and fetch the Delta jar once. Says exactly what to install where it cannot.
set -euo pipefail
venv=${1:?usage: scripts/setup.sh VENV}
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo "$@"
    else return 1
    fi
}

apt_install() {
    command -v apt-get >/dev/null || return 1
    say "installing $* with apt-get"
    as_root apt-get update -qq >&2 && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

good_python() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

find_python() {
    local name
    for name in python3.12 python3.11 python3.13 python3 python; do
        if command -v "$name" >/dev/null && good_python "$name"; then command -v "$name"; return; fi
    done
    return 1
}

java_major() { "$1" -version 2>&1 | sed -nE '1,/version/s/.*version "([0-9]+).*/\1/p' | head -n 1; }

good_java() { [ -x "$1/bin/java" ] && [ "$(java_major "$1/bin/java")" -ge 17 ] 2>/dev/null; }

find_java() {
    local home java
    if [ -n "${JAVA_HOME:-}" ] && good_java "$JAVA_HOME"; then echo "$JAVA_HOME"; return; fi
    if command -v java >/dev/null; then
        java=$(command -v java)
        java=$(readlink -f "$java" 2>/dev/null || echo "$java")
        home=$(dirname "$(dirname "$java")")
        if good_java "$home"; then echo "$home"; return; fi
    fi
    for home in /usr/lib/jvm/* /Library/Java/JavaVirtualMachines/*/Contents/Home /opt/homebrew/opt/openjdk*/libexec/openjdk.jdk/Contents/Home /usr/local/opt/openjdk*/libexec/openjdk.jdk/Contents/Home "$HOME"/.sdkman/candidates/java/*; do
        if good_java "$home"; then echo "$home"; return; fi
    done
    return 1
}

# --- Python
python=$(find_python) || {
    apt_install python3 python3-venv || true
    python=$(find_python) || fail "Python 3.11, 3.12 or 3.13 is needed and was not found." \
        "Debian/Ubuntu: sudo apt-get install python3.11 python3.11-venv    macOS: brew install python@3.12    others: https://www.python.org/downloads"
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    apt_install "python$version-venv" || fail "$python has no venv module." "Debian/Ubuntu: sudo apt-get install python$version-venv"
fi

# --- Java
java_home=$(find_java) || {
    if apt_install openjdk-17-jre-headless || apt_install openjdk-21-jre-headless; then :
    elif command -v brew >/dev/null; then say "installing openjdk@17 with Homebrew"; brew install openjdk@17 >&2
    fi
    java_home=$(find_java) || fail "A Java runtime >= 17 is needed and was not found (JAVA_HOME, PATH, the usual places)." \
        "Debian/Ubuntu: sudo apt-get install openjdk-17-jre-headless    Fedora: sudo dnf install java-17-openjdk-headless    macOS: brew install openjdk@17"
}

# --- packages
[ -x "$venv/bin/python" ] && good_python "$venv/bin/python" || "$python" -m venv --clear "$venv"
say "python $("$venv/bin/python" -c 'import platform; print(platform.python_version())'), java $java_home"
if command -v uv >/dev/null; then
    uv pip install -q --python "$venv/bin/python" -r requirements/lock.txt
    uv pip install -q --python "$venv/bin/python" --no-deps --no-build-isolation -e .
else
    "$venv/bin/python" -m pip install -q --disable-pip-version-check -r requirements/lock.txt
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
fi
printf 'export JAVA_HOME=%q PATH=%q:$PATH\n' "$java_home" "$java_home/bin" > "$venv/java.env"

# --- the Delta jar, once, into the ordinary ivy cache
# shellcheck disable=SC1091
source "$venv/java.env"
say "fetching the Delta jar"
"$venv/bin/python" - <<'PY' >/dev/null 2>"$venv/jar.log" || { tail -n 30 "$venv/jar.log" >&2; fail "the Delta jar could not be fetched"; }
from sparkds.sessions import session
spark = session("setup", kind="classic", master="local[1]")
assert spark.range(3).count() == 3
spark.stop()
PY
say "ready"
