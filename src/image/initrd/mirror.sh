# The arrays of a mirror: partitions 4, 5 and 6 of both disks. Sets members of the box apart from disks that only look
# like it, and starts the arrays, on one disk, too.

examine() { # FIELD DEVICE
    mdadm --examine --export "$2" 2>/dev/null | sed -n "s/^$1=//p"
}

# Whether a member's own superblock counts both legs as working (mdadm(8), --examine).
knows_both_legs() {
    mdadm --examine "$1" 2>/dev/null | grep -q '^ *Array State : AA '
}

# Leaves in disks those that hold this box's data. The data array's UUID is the box's own, made at its first boot.
choose_members() {
    used='' fresh='' box=''
    for name in $disks; do
        case $(data_state "$name") in
        used) used="$used $name" ;;
        *) fresh="$fresh $name" ;;
        esac
    done
    if [ -z "$used" ]; then
        check_first_boot
        return
    fi
    for name in $used; do
        uuid=$(examine MD_UUID "/dev/$(partition "$name" 6)")
        [ -z "$box" ] || [ -z "$uuid" ] || [ "$uuid" = "$box" ] ||
            fail "the disks $(described $used) hold data of different boxes; take out the one that is not this box's" 60
        box=${uuid:-$box}
    done
    disks=$used
    for name in $fresh; do
        state=$(data_state "$name")
        if [ "$state" = formatting ] && [ -n "$box" ] &&
            [ "$(examine MD_UUID "/dev/$(partition "$name" 6)")" = "$box" ] && write_note "$name" CHATIMG-FORMATTED-1; then
            # The power went between the notes of the two disks.
            disks="$disks $name"
            continue
        fi
        # Some day it may be alone here: then it must not be taken for the first boot.
        [ "$state" = out ] || write_note "$name" CHATIMG-STAYS-OUT-1 || say "partition 3 of $name cannot be written"
        say "the disk $name holds no data and stays out of the mirror: chatimg-admin replace-disk takes it in"
    done
}

# None of the disks holds data. That is the first boot, unless there are data elsewhere: on a disk that cannot be used
# now, or on one that is not there. A new box beside it would start empty, and later the two would be at odds.
check_first_boot() {
    for name in $disks; do
        [ "$(data_state "$name")" != out ] ||
            fail "the disk $(described "$name") has none of the mirror's data, and the disk that has them is not there; put that one in, or write the image anew" 60
    done
    for guid in $guids; do
        for name in $(disks_of "$guid"); do
            case "$disks " in *" $name "*) continue ;; esac
            [ "$(data_state "$name")" != used ] ||
                fail "the disk $(described "$name") holds data, but not image $id in slot $slot; the blank disk $(described $disks) is not formatted beside it: take out one or the other" 60
        done
    done
}

# assemble NUMBER NAME: starts the array of partition NUMBER as /dev/mdNUMBER, with what members there are. mdadm gives up
# if one that it is told of is none.
assemble() {
    members=''
    for name in $disks; do
        member=/dev/$(partition "$name" "$1")
        if [ -n "$(examine MD_UUID "$member")" ]; then
            members="$members $member"
        else
            say "$member is no member of the array $2 and stays out"
        fi
    done
    # shellcheck disable=SC2086 # words
    mdadm --assemble --quiet --run "/dev/md$1" $members || say "the array $2 ($members) cannot be started"
    [ "$(cat "/sys/block/md$1/md/degraded" 2>/dev/null)" = 0 ] ||
        say "the array $2 runs degraded ($members): the box works, but one disk is missing or old"
}

# Makes the data array anew: only ever done to partitions that hold no data. Nothing has been written that matters, so
# there is nothing to bring into step. A sick disk must not keep the other one from starting.
create_data() {
    # shellcheck disable=SC2086 # words
    create_array $disks && return
    for name in $disks; do
        if create_array "$name"; then
            say "the data array cannot be made on all of$disks; it is made on $name alone"
            disks=" $name"
            return
        fi
    done
    fail "the data array cannot be made on$disks" 60
}

create_array() { # DISKS
    members=''
    for guid in $guids; do
        member=missing
        for one in "$@"; do
            [ "$(disk_guid "$one")" = "$guid" ] && member=/dev/$(partition "$one" 6)
        done
        members="$members $member"
    done
    uuid=$(hexdump -n 16 -e '4/4 "%08x:"' /dev/random)
    # shellcheck disable=SC2086 # words
    mdadm --create /dev/md6 --quiet --run --assume-clean --level=1 --raid-devices=2 --metadata=1.2 --data-offset=1M \
        --bitmap=internal --homehost= --name=data --uuid="${uuid%:}" $members && return
    mdadm --stop --quiet /dev/md6 2>/dev/null
    return 1
}
