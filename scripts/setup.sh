#!/bin/sh
# Makes .venv for the Makefile: `look` at what is there, install `runtime` or `dev`, or write `constraints` anew.
# Says one line per step; pip's own words go to a log and are quoted only where it fails.
# Leaves out the choice of versions (pyproject.toml and constraints.txt) and when to run (the Makefile's stamps).
set -eu
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0
# For every pip below, hatchling included, which builds the editable install.
export PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt

venv=.venv
began=$(date +%s)

say() { printf '%s\n' "$*"; }
fail() {
    printf '\n' >&2
    printf '%s\n' "$@" >&2
    exit 1
}
seconds() { say "$(($(date +%s) - $1)) s"; }
# Prints "3.12"; fails where the command does not run, as a pyenv shim without its Python does not.
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
in_range() { case $1 in 3.11 | 3.12 | 3.13) ;; *) return 1 ;; esac; }

# --- an interpreter, or the line that installs one ---

install_line() { # $1: the version to complete with venv, or nothing where no Python fits
    sudo=$([ "$(id -u)" = 0 ] || printf 'sudo ')
    if command -v apt-get >/dev/null 2>&1; then
        version=$1
        for offered in 3.13 3.12 3.11; do
            [ -z "$version" ] && apt-cache show "python$offered-venv" >/dev/null 2>&1 && version=$offered
        done
        say "${sudo}apt-get update && ${sudo}apt-get install -y python${version:-3} python${version:-3}-venv"
    elif command -v dnf >/dev/null 2>&1; then
        say "${sudo}dnf install -y python${1:-3.12}"
    elif command -v brew >/dev/null 2>&1; then
        say "brew install python@${1:-3.13}"
    else
        say "https://www.python.org/downloads/ (neither apt, dnf nor brew is on this machine)"
    fi
}

find_interpreter() { # sets interpreter and version
    without_venv=
    for interpreter in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        version=$(version_of "$interpreter") || continue
        in_range "$version" || continue
        # Debian's python3 has venv, but without python3-venv no ensurepip, and then no pip.
        "$interpreter" -c 'import ensurepip, venv' 2>/dev/null && return
        without_venv=${without_venv:-$version}
    done
    if [ -n "$without_venv" ]; then
        fail "Python $without_venv is here, but without its venv module. To install it:" "" \
            "    $(install_line "$without_venv")" "" "Then run make again."
    fi
    [ -z "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is no working Python 3.11, 3.12 or 3.13${version:+ (but $version)}." \
        "Name another one, or leave PYTHON out and make looks for one."
    fail "No Python 3.11, 3.12 or 3.13 found. To install one:" "" "    $(install_line "")" "" "Then run make again."
}

# --- .venv ---

# .venv/.installing holds the process id of the installation at work, or of one that was interrupted.
refuse_second_installation() {
    if [ -e $venv/.installing ] && kill -0 "$(cat $venv/.installing)" 2>/dev/null; then
        fail "Another make is installing into .venv (process $(cat $venv/.installing)). Wait for it, then run make again." \
            "Where no such make runs: rm -rf .venv, then run make again."
    fi
}

look() {
    refuse_second_installation
    # Nothing there yet, or half of it: the installation that follows sees to it.
    if [ -e $venv/.installing ] || { [ ! -e $venv/bin/python ] && [ ! -L $venv/bin/python ]; }; then return; fi
    again="To make it anew: rm -rf .venv, then run make again."
    version=$(version_of $venv/bin/python) ||
        fail ".venv is broken: its Python does not run ($(readlink $venv/bin/python || say $venv/bin/python))." "$again"
    in_range "$version" || fail ".venv has Python $version; 3.11, 3.12 or 3.13 is needed." "$again"
    if [ -n "${PYTHON:-}" ]; then
        wanted=$(version_of "$PYTHON") || fail "PYTHON=$PYTHON does not run."
        [ "$wanted" = "$version" ] || fail ".venv has Python $version, but PYTHON=$PYTHON is $wanted." "$again"
    fi
    # The scripts in .venv/bin and the editable install name the folder that they were made in.
    made_in=$(cat $venv/.made-in 2>/dev/null || pwd -P)
    [ "$made_in" = "$(pwd -P)" ] || fail ".venv was made in $made_in and does not work from here." "$again"
}

start_over_if_interrupted() {
    if [ -e $venv/.installing ]; then
        say "The last installation was interrupted; starting over with an empty .venv."
        rm -rf $venv
    fi
}

begin() {
    mkdir -p $venv
    # Both stamps go: what is interrupted now leaves neither part certain.
    rm -f $venv/.runtime $venv/.dev
    echo $$ >$venv/.installing
}

end() { # $@: the stamps
    pwd -P >$venv/.made-in
    for stamp in "$@"; do touch "$venv/$stamp"; done
    rm -f $venv/.installing
}

create() { # after find_interpreter
    printf '  .venv with Python %s (%s) ... ' "$version" "$(command -v "$interpreter")"
    since=$(date +%s)
    "$interpreter" -m venv "$venv" >"$venv/install.log" 2>&1 || explain "python -m venv failed"
    seconds "$since"
}

# --- pip ---

try_pip() { # $1: the line to show; the rest: arguments of pip install
    printf '  %s ... ' "$1"
    shift
    since=$(date +%s)
    if "$venv/bin/python" -m pip install "$@" >"$venv/install.log" 2>&1; then
        seconds "$since"
    else
        say "failed after $(seconds "$since")"
        return 1
    fi
}

pip_install() {
    try_pip "$@" && return
    rm -f "$venv/.installing" # pip undid what it began, so the next make goes on from here
    explain "pip failed"
}

# pip names the true cause in a warning among many, and a misleading one ("from versions: none") as its error.
explain() {
    log=$venv/install.log
    caused_by() { evidence=$(grep -m 1 -iE "$1" "$log"); }
    if caused_by 'no space left'; then
        reason="the disk is full"
    elif caused_by 'certificate_verify_failed|SSLError'; then
        reason="the certificate of a package index is not trusted; a company's own one goes into PIP_CERT"
    elif caused_by 'name resolution|failed to resolve|unreachable|connection refused|timed out|NewConnectionError|ProxyError'; then
        reason="a package index cannot be reached; look at the network, at HTTPS_PROXY and at pip config list"
    elif caused_by 'permission denied'; then
        reason="a file or folder may not be written"
    elif caused_by 'requested \(constraint\)|ResolutionImpossible'; then
        reason="pyproject.toml and constraints.txt contradict each other; make constraints writes the latter anew"
    elif caused_by 'no matching distribution'; then
        reason="no index has a build for this Python on $(uname -sm); Linux x86-64 and arm64 and macOS arm64 have one"
    else
        reason="see the whole output"
    fi
    fail "$1: $reason." "" "$(
        { say "$evidence" && grep -iE '^ *error' "$log"; } | awk 'NF && !seen[$0]++' |
            sed 's/Retrying (Retry([^)]*)) after //' | cut -c 1-240 | head -n 4
    )" "" "The whole output: $log"
}

install_torch() {
    wanted=$(sed -n 's/.*"torch==\([^"]*\)".*/\1/p' pyproject.toml)
    here=$("$venv/bin/python" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null || :)
    case $here in "$wanted" | "$wanted"+*) return ;; esac
    size=
    if [ "$(uname -s)" = Linux ]; then
        if nvidia-smi -L 2>/dev/null | grep -q '^GPU '; then
            size=" for the NVIDIA GPU: several GB with the CUDA packages"
        elif torch_for_cpu; then
            return
        else
            say "  No CPU build to be had there. The general one may bring CUDA packages, several GB."
        fi
    fi
    pip_install "torch $wanted$size" "torch==$wanted"
}

# From that index alone: with others beside it pip would quietly take their large build where it is out of reach.
# --no-deps: the rest comes from the usual index. One short try, for networks that swallow the question.
torch_for_cpu() {
    mkdir -p "$venv/empty"
    PIP_EXTRA_INDEX_URL=$venv/empty PIP_FIND_LINKS=$venv/empty \
        try_pip "torch $wanted, the CPU build (about 200 MB) from $TORCH_INDEX" \
        --index-url "$TORCH_INDEX" --timeout 10 --retries 0 --no-deps "torch==$wanted"
}

# --- what make asks for ---

runtime() {
    start_over_if_interrupted
    [ -e $venv/bin/python ] || find_interpreter
    begin
    say "Setting up .venv"
    [ -e $venv/bin/python ] || create
    if ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
        fail ".venv is broken: it has no pip." "To make it anew: rm -rf .venv, then run make again."
    fi
    pip_install "pip" --upgrade pip
    install_torch
    pip_install "the service and what it needs" --editable .
    end .runtime
    say "Running is ready ($(seconds "$began"))."
}

dev() {
    begin
    pip_install "the tools for tests and checks" --group dev
    end .runtime .dev
    say "Tests are ready ($(seconds "$began"))."
}

constraints() {
    unset PIP_CONSTRAINT PIP_BUILD_CONSTRAINT
    find_interpreter
    venv=$(mktemp -d)
    say "Resolving anew in $venv"
    create
    pip_install "pip and setuptools" --upgrade pip setuptools
    install_torch
    pip_install "everything" --editable '.[postgres]' --group dev
    # torch pins its CUDA packages itself and names them on Linux only; its local version (+cpu) is this machine's.
    {
        sed '/^[^#]/,$d' constraints.txt
        "$venv/bin/python" -m pip freeze --all --exclude-editable | sed -E '/^(nvidia-|cuda-|triton==)/d; s/^(torch==[^+]*).*/\1/'
    } >"$venv/constraints.txt"
    cp "$venv/constraints.txt" constraints.txt
    rm -rf "$venv"
    say "constraints.txt is written ($(seconds "$began"))."
}

"$1"
