# shellcheck shell=bash
# Hugepages for one run: taken beside those that are there, mounted in a folder of the run's own, given back at the end.
# Sourced after cleanup.sh.

_nr_hugepages=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages

# take_hugepages MEGABYTES FOLDER
take_hugepages() {
    local megabytes=$1 folder=$2 before wanted
    [[ -w $_nr_hugepages ]] || die "this machine offers no hugepages of 2 MiB"
    before=$(<"$_nr_hugepages")
    wanted=$((before + (megabytes + 1) / 2))
    undo give_hugepages_back "$before" "$folder"
    echo "$wanted" >"$_nr_hugepages"
    if (($(<"$_nr_hugepages") < wanted)); then
        # Memory that is in use as cache, or in pieces, can be made ready.
        sync
        echo 3 >/proc/sys/vm/drop_caches
        echo 1 >/proc/sys/vm/compact_memory
        echo "$wanted" >"$_nr_hugepages"
    fi
    (($(<"$_nr_hugepages") >= wanted)) || die "only $(($(<"$_nr_hugepages") - before)) of $((wanted - before)) hugepages could be had"
    mkdir -p "$folder"
    mount -t hugetlbfs -o pagesize=2M none "$folder" || die "hugetlbfs cannot be mounted"
}

give_hugepages_back() {
    local before=$1 folder=$2
    if mountpoint -q "$folder"; then umount "$folder"; fi
    echo "$before" >"$_nr_hugepages"
}
