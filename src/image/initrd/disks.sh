# Which disks are this box's. Sets:
#   disks   their names, in order of legs: "sda sdb"
#   root    the device of the slot; data: of the data partition

# The GUID in the partition table of disk $1, as people write it; nothing if there is no table.
disk_guid() {
    [ "$(dd if="/dev/$1" bs=512 skip=1 count=1 2>/dev/null | head -c 8 | tr -d '\0')" = "EFI PART" ] || return
    hexdump -s 568 -n 16 -e '1/4 "%08x" "-" 1/2 "%04x" "-" 1/2 "%04x" "-" 2/1 "%02x" "-" 6/1 "%02x"' "/dev/$1"
}

# The disks whose table has the GUID $1.
disks_of() {
    for dir in /sys/block/*; do
        name=${dir##*/}
        case $name in loop* | ram* | sr* | fd* | dm-* | zram* | md*) continue ;; esac
        [ "$(disk_guid "$name")" = "$1" ] && echo "$name"
    done
}

# The name of partition number $2 on disk $1.
partition() {
    for file in "/sys/block/$1/$1"*/partition; do
        [ -r "$file" ] && [ "$(cat "$file")" = "$2" ] && basename "${file%/partition}" && return
    done
    return 1
}

# The id of the image in the slot of disk $1. A leg of the mirror reads like a plain file system, too.
image_on() {
    device=$(partition "$1" "$root_number") || return
    mount -t ext4 -o ro,noload "/dev/$device" /sysroot 2>/dev/null || return
    sed -n 's/^id=//p' /sysroot/boot/chatimg-id
    umount /sysroot
}

# Sets disks to those whose slot holds the image that GRUB means. Another disk may carry the appliance, too: the stick
# it came on, or one that is being replaced. If even the image is the same, nobody can tell which data are meant.
find_disks() {
    disks='' found=''
    for guid in $guids; do
        leg=''
        for name in $(disks_of "$guid"); do
            image=$(image_on "$name")
            found="$found $name holds ${image:-none},"
            [ "$image" = "$id" ] || continue
            [ -z "$leg" ] || fail "the disks $leg and $name both carry this box's image $id; take one of them out" 60
            leg=$name
        done
        disks="$disks${leg:+ $leg}"
    done
}

# Waits until all disks are there: 30 s for the first, 10 s more for the others.
wait_for_disks() {
    tries=0 alone=0
    while :; do
        find_disks
        # shellcheck disable=SC2086 # words
        [ "$(count $disks)" -lt "$(count $guids)" ] || break
        tries=$((tries + 1))
        if [ -n "$disks" ]; then
            alone=$((alone + 1))
            [ "$alone" -lt 50 ] || break
        elif [ "$tries" -ge 150 ]; then
            seen=$(cd /sys/block && echo *)
            fail "no disk with GUID $guids has image $id in slot $slot after 30 s ($found seen: $seen; modules that did not load:$unloaded)"
        fi
        sleep 0.2
    done
    # One more of the same may be slower to appear.
    sleep 1
    find_disks
    [ -n "$disks" ] || fail "the disk went away"
    for name in $disks; do
        for number in 3 4 5 6; do
            partition "$name" "$number" >/dev/null || fail "the disk $name lacks partition $number"
        done
    done
}

count() { echo $#; }
