# Which disks are this box's. Sets:
#   disks   their names, in order of legs: "sda sdb"
#   root    the device of the slot; data: of the data partition

# The GUID in the copy of a partition table whose header is sector $2 of disk $1, as people write it.
header_guid() {
    [ "$(dd if="/dev/$1" bs=512 skip="$2" count=1 2>/dev/null | head -c 8 | tr -d '\0')" = "EFI PART" ] || return
    dd if="/dev/$1" bs=8 skip=$(($2 * 64 + 7)) count=2 2>/dev/null |
        hexdump -e '1/4 "%08x" "-" 1/2 "%04x" "-" 1/2 "%04x" "-" 2/1 "%02x" "-" 6/1 "%02x"'
}

# The GUID of disk $1; nothing if there is no table. The kernel goes on with the copy at the end if the first one is
# damaged, and so does this; grow_partition mends it.
disk_guid() {
    header_guid "$1" 1 || header_guid "$1" $(($(cat "/sys/block/$1/size") - 1))
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

# Disks with what a person reads on them: "sda (Model, serial ABC) and sdb (...)".
described() { # DISK...
    words=''
    for one in "$@"; do
        device=/sys/block/$one/device
        model=$(cat "$device/model" 2>/dev/null)
        # NVMe and virtio have a file; of others it is SPC's page 0x80, behind a header of four bytes.
        serial=$(cat "$device/serial" "/sys/block/$one/serial" 2>/dev/null || tail -c +5 "$device/vpd_pg80" 2>/dev/null | tr -d '\0')
        # shellcheck disable=SC2086 # spaces at the ends go
        words="$words and $one ($(echo ${model:-unknown model}), serial $(echo ${serial:-unknown}))"
    done
    echo "${words# and }"
}

# Whether disk $1 of a mirror was away while disk $2 was put in its place: it has an older state of the same data, and
# none that it wrote alone, for then it would count the other leg as missing.
is_older() {
    [ -n "$mirror" ] && [ "$(data_state "$1")" = used ] && [ "$(data_state "$2")" = used ] || return 1
    one=/dev/$(partition "$1" 6) two=/dev/$(partition "$2" 6)
    uuid=$(examine MD_UUID "$one")
    [ -n "$uuid" ] && [ "$uuid" = "$(examine MD_UUID "$two")" ] && knows_both_legs "$one" || return 1
    old=$(examine MD_EVENTS "$one") new=$(examine MD_EVENTS "$two")
    [ "${old:-0}" -lt "${new:-0}" ]
}

# Sets disks to those whose slot holds the image that GRUB means. Another disk may carry the appliance, too: the stick
# it came on, or one that was replaced. If even the image is the same, and the data do not tell which one is old, nobody
# can tell which data are meant.
find_disks() {
    disks='' found=''
    for guid in $guids; do
        leg=''
        for name in $(disks_of "$guid"); do
            image=$(image_on "$name")
            found="$found $name holds ${image:-none},"
            [ "$image" = "$id" ] || continue
            if [ -z "$leg" ] || is_older "$leg" "$name"; then
                [ -z "$leg" ] || say_replaced "$leg" "$name"
                leg=$name
            elif is_older "$name" "$leg"; then
                say_replaced "$name" "$leg"
            else
                fail "the disks $(described "$leg" "$name") both carry this box's image $id; take one of them out" 60
            fi
        done
        disks="$disks${leg:+ $leg}"
    done
}

# Once, though disks are looked for again and again.
say_replaced() { # OLD NEW
    case $replaced in *" $1 "*) return ;; esac
    replaced="$replaced $1 "
    say "the disk $(described "$1") is an old leg, whose place $2 has taken; it stays out"
}
replaced=''

# Goes on without disk $1, for the reason $2, if there is another one.
drop_disk() { # DISK WHY [SECONDS]
    left=''
    for one in $disks; do
        [ "$one" = "$1" ] || left="$left $one"
    done
    [ -n "$left" ] || fail "$2" "${3:-60}"
    say "$2; going on without the disk $1"
    disks=$left
}

# How many seconds to look for more disks: 10 if the data are there, 60 if all that is there is blank.
patience() {
    for name in $disks; do
        if [ "$(data_state "$name")" = used ]; then echo 10; return; fi
    done
    echo 60
}

# Seconds since the kernel began.
uptime_seconds() { cut -d . -f 1 /proc/uptime; }

# Waits until all disks are there: 30 s for the first, and some more for the others.
wait_for_disks() {
    began=$(uptime_seconds) first=''
    while :; do
        find_disks
        # shellcheck disable=SC2086 # words
        [ "$(count $disks)" -lt "$(count $guids)" ] || break
        # A sick disk answers late, and each look asks it again.
        feed_watchdog
        if [ -n "$disks" ]; then
            first=${first:-$(uptime_seconds)}
            [ $(($(uptime_seconds) - first)) -lt "$(patience)" ] || break
        elif [ $(($(uptime_seconds) - began)) -ge 30 ]; then
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
            partition "$name" "$number" >/dev/null && continue
            drop_disk "$name" "the disk $name lacks partition $number" 5
            break
        done
    done
}

count() { echo $#; }
