#!/bin/sh
# Makes .venv with everything that Rialto needs. Run by `make setup`; safe to run again.
# Needs CPython 3.11 or newer with the venv module; as root on Debian or Ubuntu it installs those itself.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3}
system=/usr/bin/python3

complain() {
    echo "setup: $1" >&2
    exit 1
}

usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Version managers build without profile-guided optimisation unless they are told to; such an interpreter takes a
# third longer for everything. Distributions' own have it, whatever their configuration says.
optimised() {
    "$1" -c 'import sys, sysconfig
sys.exit(sys.base_prefix != "/usr" and "--enable-optimizations" not in (sysconfig.get_config_var("CONFIG_ARGS") or ""))'
}

if [ -z "${PYTHON:-}" ] && usable "$python" && ! optimised "$python" && usable "$system"; then
    echo "setup: $python was built without optimisation, so $system is taken (PYTHON=... chooses another)"
    python=$system
fi
if ! usable "$python"; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq python3 python3-venv >/dev/null
    fi
    usable "$python" || complain \
        "$python is missing, older than 3.11 or has no venv; on Debian or Ubuntu: sudo apt-get install python3 python3-venv"
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "setup: installing the pinned dependencies into .venv (about a minute the first time)"
if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"; then
    # Every dependency has wheels for the usual platforms; elsewhere these build them.
    complain "a dependency did not install; on Debian or Ubuntu its build may need: \
sudo apt-get install build-essential python3-dev libgmp-dev libleveldb-dev"
fi
.venv/bin/python -m compileall -q primitives consensus crosslink shards node testnet tests
touch .venv/.installed
