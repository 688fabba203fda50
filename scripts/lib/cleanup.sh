# shellcheck shell=bash
# Things to undo when the script ends, however it ends (exit, error, Ctrl-C, SIGTERM, SIGHUP). Sourced.
# Undo steps run in reverse order; each runs even if another one fails.

_undo_steps=()

# undo COMMAND [ARGUMENT…]: run it at the end.
undo() { _undo_steps+=("$(printf '%q ' "$@")"); }

# Forgets all undo steps (for --keep).
undo_nothing() { _undo_steps=(); }

_run_undo_steps() {
    local status=$? index
    trap '' INT TERM HUP
    for ((index = ${#_undo_steps[@]} - 1; index >= 0; index--)); do
        eval "${_undo_steps[index]}" || printf 'warning: clean-up step failed: %s\n' "${_undo_steps[index]}" >&2
    done
    _undo_steps=()
    exit "$status"
}

trap _run_undo_steps EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Ends one process and waits for it: SIGTERM, then SIGKILL after SECONDS (default 5). Quiet when it has already gone.
end_process() {
    local pid=$1 seconds=${2:-5} tries
    kill -TERM "$pid" 2>/dev/null || return 0
    for ((tries = seconds * 10; tries > 0; tries--)); do
        process_lives "$pid" || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null
    for ((tries = 50; tries > 0; tries--)); do
        process_lives "$pid" || return 0
        sleep 0.1
    done
    return 1
}

# Ends a process group, stopped members included: SIGTERM, then SIGKILL after 2 s. Quiet when it has already gone.
end_group() {
    local tries
    kill -TERM -- "-$1" 2>/dev/null || return 0
    kill -CONT -- "-$1" 2>/dev/null
    for ((tries = 20; tries > 0; tries--)); do
        kill -0 -- "-$1" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$1" 2>/dev/null
    return 0
}

# A zombie does not live: it holds nothing.
process_lives() {
    local state
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 1
    [[ -n $state && $state != Z ]]
}

# wait_for SECONDS WHAT COMMAND…: polls until the command succeeds; otherwise says WHAT did not happen and returns 1.
wait_for() {
    local seconds=$1 what=$2 tries
    shift 2
    for ((tries = seconds * 20; tries > 0; tries--)); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.05
    done
    printf 'gave up after %s s: %s\n' "$seconds" "$what" >&2
    return 1
}
