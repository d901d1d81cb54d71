# The arrays of a mirror: partitions 4, 5 and 6 of both disks. Sets members of the box apart from disks that only look
# like it, and starts the arrays, on one disk, too.

examine() { # FIELD DEVICE
    mdadm --examine --export "$2" 2>/dev/null | sed -n "s/^$1=//p"
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
    [ -n "$used" ] || return # The first boot: all of them.
    for name in $used; do
        uuid=$(examine MD_UUID "/dev/$(partition "$name" 6)")
        [ -z "$box" ] || [ -z "$uuid" ] || [ "$uuid" = "$box" ] ||
            fail "the disks$used hold data of different boxes; take out the one that is not this box's" 60
        box=${uuid:-$box}
    done
    disks=$used
    for name in $fresh; do
        if [ -n "$box" ] && [ "$(examine MD_UUID "/dev/$(partition "$name" 6)")" = "$box" ]; then
            # The power went between the notes of the two disks.
            write_note "$name" CHATIMG-FORMATTED-1
            disks="$disks $name"
        else
            say "the disk $name is blank and stays out of the mirror: chatimg-admin replace-disk takes it in"
        fi
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

# Makes the data array anew over all members: only ever done to partitions that hold no data. Nothing has been written
# that matters, so there is nothing to bring into step.
create_data() {
    members='' missing=''
    for guid in $guids; do
        member=missing
        for name in $disks; do
            [ "$(disk_guid "$name")" = "$guid" ] && member=/dev/$(partition "$name" 6)
        done
        members="$members $member"
    done
    uuid=$(hexdump -n 16 -e '4/4 "%08x:"' /dev/random)
    # shellcheck disable=SC2086 # words
    mdadm --create /dev/md6 --quiet --run --assume-clean --level=1 --raid-devices=2 --metadata=1.2 --data-offset=1M \
        --bitmap=internal --homehost= --name=data --uuid="${uuid%:}" $members ||
        fail "the data array ($members) cannot be made" 60
}
