# shellcheck shell=bash
# What tools/demo and tools/test need before they can do their job; sourced by both.
#
# set_up run | set_up test     leaves $python: the interpreter of an environment that holds everything asked for
#
# On a machine with nothing but Python and git:
# - Programs. Root installs what is missing with apt-get; anybody else is told what to install, and the command ends when it
#   cannot do without.
# - Python. The first interpreter of 3.11 or later that can make environments. Root prefers one that other users can execute
#   too, because an environment of root's in a shared checkout would be useless to them otherwise (pyenv lives in /root).
# - Environment. .venv in the checkout, or TCPSTACK_VENV, or a directory in the user's cache when the checkout cannot be
#   written. Packages come from the hashed lists in tools/, through whatever index pip is configured to use. A stamp in the
#   environment holds a checksum of the list: nothing is installed, or written, while it is current.

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
oldest_minor=11     # Python 3.11, as in pyproject.toml
TCPSTACK_PYTHON=${TCPSTACK_PYTHON:-}    # an interpreter that the user wants
TCPSTACK_VENV=${TCPSTACK_VENV:-}        # a directory that the user wants the environment in

say() { printf '== %s\n' "$*" >&2; }
fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
    exit 1
}
is_root() { [ "$(id -u)" -eq 0 ]; }

set_up() { # run | test
    local purpose=$1 umask_before
    PATH=$PATH:/usr/sbin:/sbin    # nginx and ip are there, and an ordinary user's PATH has neither on Debian

    choose_environment "$purpose"
    python=$environment/bin/python
    interpreter='' second_best='' venv_package=''
    "$python" -c 'import pip' 2>/dev/null || look_for_python
    install_programs "$purpose"
    if "$python" -c '' 2>/dev/null; then
        install_headers "$purpose" "$python"
    fi
    environment_is_current "$purpose" && return

    umask_before=$(umask)
    umask 022    # root's environment is for everybody
    mkdir -p "$environment"
    # Two commands started at the same time set up once.
    exec 9>"$environment/.lock"
    flock 9
    environment_is_current "$purpose" || make_environment "$purpose"
    exec 9>&-
    umask "$umask_before"
}

# --- Programs -----------------------------------------------------------------------------------------------------------

# command=package; the demo does without nginx (Python's own web server takes its place), the tests do not.
needed_programs() { # run | test
    case $1 in
        run) echo "curl=curl unshare=util-linux" ;;
        test) echo "curl=curl unshare=util-linux setpriv=util-linux ip=iproute2 nginx=nginx tshark=tshark ping=iputils-ping" \
            "iperf3=iperf3 gcc=gcc" ;;
    esac
}
useful_programs() { # run | test
    case $1 in
        run) echo "nginx=nginx" ;;
        test) ;;
    esac
}

missing_packages() { # command=package ...
    local pair packages=()
    for pair in "$@"; do
        [ -x "$(command -v "${pair%%=*}")" ] || packages+=("${pair#*=}")
    done
    printf '%s\n' "${packages[@]}" | sort -u | xargs
}

install_programs() { # run | test
    local needed useful
    # shellcheck disable=SC2046  # the lists are words
    needed=$(missing_packages $(needed_programs "$1"))
    # shellcheck disable=SC2046
    useful=$(missing_packages $(useful_programs "$1"))
    needed=$(xargs <<<"$needed $venv_package")
    [ -n "$needed$useful" ] || return 0
    if is_root && command -v apt-get >/dev/null; then
        # shellcheck disable=SC2086
        install_packages $needed $useful
        [ -z "$venv_package" ] || look_for_python
        # shellcheck disable=SC2046
        needed=$(missing_packages $(needed_programs "$1"))
        [ -z "$needed" ] || fail "apt-get installed the packages, but some of their programs are still not found: $needed"
    elif [ -n "$needed" ]; then
        fail "not everything that this needs is installed" "install it, then run this again:" "  $(install_command "$needed $useful")"
    else
        say "not installed: $useful (optional; $(install_command "$useful"))"
    fi
}

install_command() { # package ...
    if command -v apt-get >/dev/null; then
        echo "sudo apt-get update && sudo apt-get install $(xargs <<<"$*")"
    else
        echo "your distribution's packages for: $(xargs <<<"$*")"
    fi
}

# The tests compile the core. Debian has Python's headers, and those of C with them, in a package of their own; with any
# other Python they come along.
install_headers() { # run | test, interpreter
    local package
    [ "$1" = test ] || return 0
    package=$("$2" -c 'if True:
        import os, sys, sysconfig
        if sys.base_prefix == "/usr" and not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
            print(f"python3.{sys.version_info.minor}-dev")')
    [ -n "$package" ] || return 0
    is_root && command -v apt-get >/dev/null ||
        fail "Python's headers are not installed, and the tests compile the core" "install them, then run this again:" \
            "  $(install_command "$package")"
    install_packages "$package"
}

install_packages() { # package ...; as root
    local log attempts=0 policy=/usr/sbin/policy-rc.d made_policy='' nginx_is_new=''
    log=$(mktemp)
    say "installing Debian packages: $*"
    [[ " $* " == *" nginx "* ]] && nginx_is_new=yes
    # Debian starts a service when its package is installed. The web server is wanted as a program only.
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        made_policy=yes
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    # A machine that has just booted may be updating itself: its lock is waited for.
    # An update that fails otherwise need not matter (a source that cannot be reached); the installation will tell.
    while ! apt-get update >"$log" 2>&1 && grep -q 'Could not get lock' "$log" && [ $((attempts += 1)) -lt 30 ]; do
        sleep 10
    done
    local failed=''
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1 </dev/null || failed=yes
    if [ -n "$made_policy" ]; then
        rm -f $policy
        trap - EXIT
    fi
    if [ -n "$failed" ]; then
        tail -n 20 "$log" >&2
        fail "apt-get could not install: $* (whole output: $log)"
    fi
    rm -f "$log"
    if [ -n "$nginx_is_new" ]; then
        update-rc.d nginx disable >/dev/null 2>&1 || true    # nor is it to start at the next boot
    fi
}

# --- Python -------------------------------------------------------------------------------------------------------------

python_candidates() {
    if [ -n "$TCPSTACK_PYTHON" ]; then
        echo "$TCPSTACK_PYTHON"
        return
    fi
    local names=(python3 python3.13 python3.12 python3.11 python3.14) name
    if is_root; then
        printf '/usr/bin/%s\n' "${names[@]}"
    fi
    for name in "${names[@]}"; do
        type -P "$name" || true
    done
    printf '/usr/bin/%s\n' "${names[@]}"
}

# pyenv's shims are scripts, and an active environment has links; what counts is the interpreter behind.
real_interpreter() { "$1" -c 'import sys; print(sys._base_executable)' 2>/dev/null; }
is_new_enough() { "$1" -c "import sys; sys.exit(sys.version_info < (3, $oldest_minor))" 2>/dev/null; }
makes_environments() { "$1" -c 'import ensurepip, ssl, venv' 2>/dev/null; }
is_for_everybody() { ! is_root || setpriv --reuid=65534 --regid=65534 --clear-groups -- "$1" -c '' 2>/dev/null; }

# Sets $interpreter to one that is all that we want; or else $second_best to one that only root can execute, and
# $venv_package to what makes the system's own fit for it: Debian has `ensurepip` in a package of its own.
look_for_python() {
    local candidate real
    interpreter='' second_best='' venv_package=''
    while read -r candidate; do
        real=$(real_interpreter "$candidate") || continue
        is_new_enough "$real" || continue
        if ! makes_environments "$real"; then
            [[ $real != /usr/bin/* || -n $venv_package ]] ||
                venv_package=$("$real" -c 'import sys; print(f"python3.{sys.version_info.minor}-venv")')
        elif is_for_everybody "$real"; then
            interpreter=$real venv_package=''
            return
        else
            second_best=${second_best:-$real}
        fi
    done < <(python_candidates)
}

find_python() { # sets $interpreter, when look_for_python has looked
    if [ -z "$interpreter$second_best$TCPSTACK_PYTHON" ] && is_root && command -v apt-get >/dev/null; then
        # No Python at all, or an old one: Ubuntu 22.04 has a newer one beside its own.
        if type -P python3 >/dev/null; then
            install_packages "python3.$oldest_minor-venv"
        else
            install_packages python3-venv
        fi
        look_for_python
    fi
    interpreter=${interpreter:-$second_best}
    [ -n "$interpreter" ] || fail \
        "no Python 3.$oldest_minor or later was found${TCPSTACK_PYTHON:+ as TCPSTACK_PYTHON=$TCPSTACK_PYTHON}" \
        "install one, then run this again:" "  $(install_command "python3.$oldest_minor-venv")" \
        "(Debian 12, Ubuntu 24.04 and later have one as python3-venv), or name yours: TCPSTACK_PYTHON=/path/to/python3"
}

# --- Environment --------------------------------------------------------------------------------------------------------

requirements() { # run | test
    case $1 in
        run) echo "$checkout/tools/requirements.txt" ;;
        test) echo "$checkout/tools/requirements-test.txt" ;;
    esac
}
checksum() { cat "$(requirements "$1")" "$checkout/pyproject.toml" | sha256sum | cut -d' ' -f1; }

environment_is_current() { # run | test
    "$environment/bin/python" -c '' 2>/dev/null || return
    [ "$(cat "$environment/.stamp-$1" 2>/dev/null)" = "$(checksum "$1")" ] && return
    # What the tests need includes what the commands need.
    [ "$1" = run ] && environment_is_current test
}

can_write() { # a directory that may not exist yet
    local path=$1
    while [ ! -e "$path" ]; do path=$(dirname "$path"); done
    [ -d "$path" ] && [ -w "$path" ]
}

choose_environment() { # run | test; sets $environment
    if [ -n "$TCPSTACK_VENV" ]; then
        environment=$(realpath -m "$TCPSTACK_VENV")
        environment_is_current "$1" || can_write "$environment" || fail "TCPSTACK_VENV=$environment cannot be written"
        return
    fi
    environment=$checkout/.venv
    environment_is_current "$1" && return
    can_write "$environment" && return
    local cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
    if [ -n "$cache" ] && can_write "$cache"; then
        environment=$cache/tcpstack/venv-$(sha256sum <<<"$checkout" | cut -c1-12)
        environment_is_current "$1" || say "$checkout/.venv cannot be written; using $environment"
    else
        fail "$checkout/.venv is not complete and cannot be written" \
            "name a directory for the environment: TCPSTACK_VENV=/tmp/tcpstack-venv"
    fi
}

make_environment() { # run | test
    local log=$environment/setup.log list
    list=$(requirements "$1")
    : >"$log"
    if ! "$python" -c 'import pip' 2>/dev/null; then
        find_python
        install_headers "$1" "$interpreter"
        say "making ${environment/#"$checkout/"/} with $("$interpreter" --version) ($interpreter)"
        rm -f "$environment"/.stamp-*
        if [ -e "$environment/pyvenv.cfg" ]; then    # of an interpreter that is gone
            rm -rf "${environment:?}"/{bin,include,lib,lib64,pyvenv.cfg}
        fi
        logged "$log" "$interpreter" -m venv "$environment"
    fi
    say "installing $(grep -c '==' "$list") Python packages"
    logged "$log" "$python" -m pip install --no-input --disable-pip-version-check --require-hashes -r "$list"
    logged "$log" "$python" -m pip install --no-input --disable-pip-version-check --no-deps --no-build-isolation \
        --editable "$checkout"
    checksum "$1" >"$environment/.stamp-$1"
}

logged() { # log file, command ...
    local log=$1
    shift
    "$@" >>"$log" 2>&1 </dev/null && return
    tail -n 20 "$log" >&2
    fail "this failed: $*" "(whole output: $log)"
}
