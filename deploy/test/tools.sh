# What the tests of the packages share: tools below target/deploy. Sourced by the scripts beside it, with `script` as their name.

engines=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../scripts/engines" && pwd -P)
# shellcheck source=scripts/engines/common.sh
. "$engines/common.sh"
target=$repo/target/deploy
log=$target/install.log
mkdir -p "$target/bin"
: >"$log"

# Builds a program of a Go module below target/deploy: go_install PROGRAM PACKAGE@VERSION
go_install() {
    [ -x "$target/bin/$1" ] && return
    have go || apt_install golang-go || fail "no Go here"
    say "go install $2"
    GOPATH=$target/go GOBIN=$target/go/bin GOFLAGS='-modcacherw -buildvcs=false' go install "$2" >>"$log" 2>&1 ||
        fail "$2 cannot be built"
    local built=${2%@*}
    cp "$target/go/bin/$(basename "$built")" "$target/bin/$1"
}

# Makes a Python with these packages below target/deploy: python_with PACKAGE==VERSION...
python_with() {
    local python=$target/venv/bin/python
    [ "$(cat "$target/venv/installed" 2>/dev/null)" != "$*" ] || return 0
    have python3 || apt_install python3 python3-venv || fail "no python3 here"
    say "pip install $*"
    rm -rf "$target/venv"
    python3 -m venv "$target/venv" >>"$log" 2>&1 || { apt_install python3-venv && python3 -m venv "$target/venv" >>"$log" 2>&1; } ||
        fail "python3 cannot make a virtual environment"
    "$python" -m pip --disable-pip-version-check install --quiet "$@" >>"$log" 2>&1 || fail "pip cannot install $*"
    echo "$*" >"$target/venv/installed"
}

# Runs a command that must fail, and whose output must contain TEXT: refuses TEXT COMMAND...
refuses() {
    local text=$1 output
    shift
    if output=$("$@" 2>&1); then
        fail "this was not refused ($text): $*"
    fi
    [[ $output == *"$text"* ]] || fail "it was refused for another reason than '$text': $output"
}
