# The data partition: grown to the disk's end, formatted once, mounted on /state.

starts_with() { # FILE SKIP-SECTORS TEXT
    [ "$(dd if="$1" bs=512 skip="$2" count=1 2>/dev/null | head -c ${#3} | tr -d '\0')" = "$3" ]
}

# Notes in partition 3: CHATIMG-FORMATTING-1, CHATIMG-FORMATTED-1; CHATIMG-STAYS-OUT-1: there is a disk with data beside
# which this one is blank, or waits to be filled by replace-disk.
write_note() { # DISK TEXT (one sector, padded)
    { echo "$2"; dd if=/dev/zero bs=512 count=1 2>/dev/null; } | head -c 512 |
        dd of="/dev/$(partition "$1" 3)" bs=512 seek=64 conv=fsync,notrunc 2>/dev/null
}

# Whether partition 6 of disk $1 holds data that count: out, blank, formatting or used; missing.
data_state() {
    if ! partition "$1" 6 >/dev/null; then
        echo missing
    elif starts_with "/dev/$(partition "$1" 3)" 64 CHATIMG-STAYS-OUT-1; then
        echo out
    elif starts_with "/dev/$(partition "$1" 6)" "$data_start" CHATIMG-BLANK-DATA-1; then
        echo blank
    elif starts_with "/dev/$(partition "$1" 3)" 64 CHATIMG-FORMATTING-1; then
        echo formatting
    else
        echo used
    fi
}

# Nothing here is fatal: a data partition that stays small still works.
grow_partition() { # DISK
    part=$(partition "$1" 6)
    size=$(cat "/sys/block/$1/size")
    start=$(cat "/sys/block/$1/$part/start")
    end=$((start + $(cat "/sys/block/$1/$part/size")))
    # sfdisk tells of a copy of the table that is damaged or not at the end of the disk.
    trouble=$(in_slot sfdisk --dump "/dev/$1" 2>&1 >/dev/null)
    if [ -n "$trouble" ]; then
        in_slot sfdisk --quiet --no-reread --no-tell-kernel --relocate gpt-bak-std "/dev/$1" ||
            say "the backup of the partition table of $1 cannot be moved to the end of the disk"
    fi
    # 1 MiB at the end belongs to the backup table, and alignment may cost another.
    [ $((size - end)) -gt 4096 ] || return
    echo ", $(((size - start) / 2048 * 2048 - 2048))" |
        in_slot sfdisk --quiet --force --no-reread --no-tell-kernel -N 6 "/dev/$1" &&
        in_slot partx --update --nr 6 "/dev/$1" &&
        say "data partition of $1: $(((end - start) / 2048)) MiB, now $(($(cat "/sys/block/$1/$part/size") / 2048)) MiB" ||
        say "the data partition of $1 cannot be grown"
    sync
}

# Formats the data partitions if no disk holds data. On a mirror choose_members has seen to it that either all do or none.
format_data_if_blank() {
    for name in $disks; do
        [ "$(data_state "$name")" != used ] || return 0
    done
    for name in $disks; do
        write_note "$name" CHATIMG-FORMATTING-1 || drop_disk "$name" "partition 3 of $name cannot be written"
    done
    [ -z "$mirror" ] || create_data
    say "formatting the data partition"
    in_slot mkfs.xfs -q -f -L chatimg-data -m crc=1,finobt=1,reflink=1,bigtime=1 "/dev/$data" ||
        fail "the data partition (/dev/$data) cannot be formatted" 60
    blockdev --flushbufs "/dev/$data"
    sync
    for name in $disks; do
        write_note "$name" CHATIMG-FORMATTED-1 && continue
        drop_disk "$name" "partition 3 of $name cannot be written"
        member=/dev/$(partition "$name" 6)
        mdadm --manage --quiet /dev/md6 --fail "$member" --remove "$member"
    done
}

mount_data() {
    [ -d /sysroot/state ] || fail "the image has no directory /state"
    tries=0
    until mount -t xfs -o noatime,nosuid,nodev "/dev/$data" /sysroot/state; do
        tries=$((tries + 1))
        [ "$tries" -lt 3 ] ||
            fail "the data partition (/dev/$data) cannot be mounted; its contents are left as they are${mirror:+; if a disk was taken out before the mirror was whole, put it in again}" 60
        sleep 2
    done
    in_slot xfs_growfs -d /state >/dev/null || say "the data file system cannot be grown"
}
