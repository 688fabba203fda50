# shellcheck shell=bash
# What the machine must have: distribution packages and a Rust toolchain. Sourced after output.sh and cleanup.sh.

# Packages by purpose. Debian 12 and newer, Ubuntu 22.04 and newer.
packages_build=(build-essential pkg-config clang libclang-dev libdpdk-dev)
packages_lab=(iproute2 iputils-arping iputils-ping ethtool nginx-light socat procps vsftpd curl sip-tester)
packages_testpmd=(dpdk-dev)

need_root() {
    ((EUID == 0)) || die "this needs root (network namespaces); run: sudo $0"
}

# install_packages NAME…: installs those that are missing, and nothing else. Says which.
install_packages() {
    local name missing=()
    command -v dpkg-query >/dev/null || {
        say "not a Debian or Ubuntu machine: please see to these yourself: $*"
        return 0
    }
    for name in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || missing+=("$name")
    done
    ((${#missing[@]} == 0)) && return 0
    ((EUID == 0)) || die "missing packages; run: sudo apt-get install ${missing[*]}"
    say "installing ${missing[*]}"
    _without_starting_services _apt_install "${missing[@]}" || die "apt-get could not install: ${missing[*]}"
}

_apt_install() {
    local log
    log=$(mktemp)
    # The index is fetched only if installing with the present one fails: it is slow, and it may be fresh already.
    if DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >"$log" 2>&1 ||
        { apt-get update -q >>"$log" 2>&1 &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >>"$log" 2>&1; }; then
        rm -f "$log"
        return 0
    fi
    show_log "$log"
    rm -f "$log"
    return 1
}

# A fresh nginx package would start a server on the machine's own port 80. policy-rc.d is Debian's way to say no.
_without_starting_services() {
    local policy=/usr/sbin/policy-rc.d status
    if [[ -e $policy ]]; then
        "$@"
        return
    fi
    undo rm -f "$policy"
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
    "$@"
    status=$?
    rm -f "$policy"
    return "$status"
}

# need_toolchain MANIFEST: cargo is there and as new as the manifest's rust-version.
need_toolchain() {
    local manifest=$1 wanted found
    # sudo drops the user's PATH; rustup's usual place is worth a look before giving up.
    if ! command -v cargo >/dev/null; then
        local home
        for home in "$HOME" "$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)"; do
            [[ -x $home/.cargo/bin/cargo ]] && PATH=$home/.cargo/bin:$PATH && break
        done
    fi
    wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$manifest" | head -n 1)
    command -v cargo >/dev/null || die "cargo is not in PATH; install Rust $wanted or newer from https://rustup.rs (Debian's own is too old)"
    found=$(cargo --version | awk '{print $2}')
    [[ $(printf '%s\n%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1) == "$wanted" ]] ||
        die "cargo is $found, but shunt needs Rust $wanted or newer; run: rustup update"
}
