# shellcheck shell=bash
# Building with Cargo. Sourced after packages.sh, in the root of the project.

# run_cargo ARGUMENTS…: as the person who called sudo, so that nothing in the clone becomes root's.
run_cargo() {
    if [[ $EUID -eq 0 && -n ${SUDO_USER:-} && $SUDO_USER != root ]] && command -v runuser >/dev/null; then
        runuser -u "$SUDO_USER" -- env HOME="$(getent passwd "$SUDO_USER" | cut -d: -f6)" PATH="$PATH" cargo "$@"
    else
        cargo "$@"
    fi
}

# The folder of the binaries to use, as an absolute path: where Cargo puts optimised ones, unless SHUNT_BIN_DIR says
# otherwise.
release_dir() {
    if [[ -n ${SHUNT_BIN_DIR:-} ]]; then
        realpath "$SHUNT_BIN_DIR"
        return
    fi
    local target=${CARGO_TARGET_DIR:-target}
    [[ $target == /* ]] || target=$PWD/$target
    echo "$target/release"
}

# The binaries that the lab needs, optimised.
build_release() {
    if [[ -n ${SHUNT_BIN_DIR:-} ]]; then
        say "not building: the binaries are those of $SHUNT_BIN_DIR"
        return
    fi
    run_cargo build --release --bins -p shunt -p shunt-control -p shunt-rig || die "the build failed"
}
