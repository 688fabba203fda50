# shellcheck shell=bash
# What a person sees: progress, results, and the tally. Sourced.

shunt_passed=0
shunt_failed=0
shunt_started=$SECONDS

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    _bold=$'\e[1m' _green=$'\e[32m' _red=$'\e[31m' _plain=$'\e[0m'
else
    _bold='' _green='' _red='' _plain=''
fi

# A heading, with the time since the start: a reader sees that something moves, and where the time goes.
step() { printf '%s[%4ds] %s%s\n' "$_bold" "$((SECONDS - shunt_started))" "$*" "$_plain"; }

# One line of detail.
say() { printf '        %s\n' "$*"; }

pass() {
    shunt_passed=$((shunt_passed + 1))
    printf '%sPASS%s    %s\n' "$_green" "$_plain" "$*"
}

fail() {
    shunt_failed=$((shunt_failed + 1))
    printf '%sFAIL%s    %s\n' "$_red" "$_plain" "$*"
}

# Prints the tally and returns 0 only if something passed and nothing failed.
tally() {
    printf '%d passed, %d failed\n' "$shunt_passed" "$shunt_failed"
    ((shunt_failed == 0 && shunt_passed > 0))
}

# Says what is wrong and stops. The cleanup trap still runs.
die() {
    printf '%serror:%s %s\n' "$_red" "$_plain" "$*" >&2
    exit 1
}

# Shows the last lines of a log, indented, for a failure that a person must understand.
show_log() {
    local file=$1 lines=${2:-30}
    [[ -s $file ]] || return 0
    say "last lines of $file:"
    tail -n "$lines" "$file" | sed 's/^/        | /'
}
