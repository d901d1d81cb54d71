#!/bin/sh
# chatimg's first process: from the kernel to the slot's /sbin/init. Run by busybox (static).
#
#   1. load the modules of /lib/modules/order
#   2. find the disk: by the GUID in its partition table, and the image in its slot, which must be the one that GRUB means
#   3. mount the slot read-only
#   4. grow the data partition to the end of the disk; format it if the image's marker allows that
#   5. mount it on /state, and bind each line of /usr/lib/chatimg/state to its place
#   6. switch_root
#
# A failure says one line on the console and restarts the machine, so that GRUB can take another slot or
# the disk another try. There is never a shell. Safe against a power cut at any point:
#   - the table: sfdisk writes the backup first; the kernel (`gpt`) uses either copy; a damaged one is
#     rewritten here
#   - formatting: a note in partition 3 stands from before mkfs until its work is on the disk, and while
#     it stands nothing has ever been mounted from partition 6
#   - a state directory is filled under another name, synced, and renamed; a stamp says it is settled
# XFS replays its log when it is mounted; if it cannot be mounted, its data is left alone: restart and say so.
# /proc/cmdline: chatimg.slot=a|b chatimg.id=ID chatimg.disk=GUID

export PATH=/bin:/sbin
/bin/busybox mkdir -p /sbin
/bin/busybox --install -s /bin

# /dev/console is the serial port where there is one; who sits at the screen is to know, too.
say() {
    echo "chatimg: $*"
    case $(cat /sys/class/tty/console/active 2>/dev/null) in
    *tty0) ;;
    *) echo "chatimg: $*" >/dev/tty0 ;;
    esac 2>/dev/null
}

# fail TEXT [SECONDS]
fail() {
    say "$1; restarting in ${2:-5} s"
    sync
    sleep "${2:-5}"
    reboot -f
    sleep 60
}

mount_kernel_file_systems() { # ROOT
    mount -t proc -o nosuid,nodev,noexec proc "$1/proc"
    mount -t sysfs -o nosuid,nodev,noexec sysfs "$1/sys"
    mount -t devtmpfs -o nosuid,mode=0755 devtmpfs "$1/dev"
    mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs "$1/run"
}

read_command_line() {
    slot= id= guid=
    for word in $(cat /proc/cmdline); do
        case $word in
        chatimg.slot=*) slot=${word#*=} ;;
        chatimg.id=*) id=${word#*=} ;;
        chatimg.disk=*) guid=${word#*=} ;;
        esac
    done
    case $slot in
    a) root_number=4 ;;
    b) root_number=5 ;;
    *) fail "the kernel was not told which slot to use (chatimg.slot=a or b)" ;;
    esac
}

load_modules() {
    while read -r name; do
        # Some only work on other hardware. What matters shows by the disk being there or not.
        insmod "/lib/modules/$name.ko" 2>/dev/null || unloaded="$unloaded $name"
    done </lib/modules/order
}

# The GUID in the partition table of disk $1, as people write it; nothing if there is no table.
disk_guid() {
    [ "$(dd if="/dev/$1" bs=512 skip=1 count=1 2>/dev/null | head -c 8 | tr -d '\0')" = "EFI PART" ] || return
    hexdump -s 568 -n 16 -e '1/4 "%08x" "-" 1/2 "%04x" "-" 1/2 "%04x" "-" 2/1 "%02x" "-" 6/1 "%02x"' "/dev/$1"
}

# The disks whose table has our GUID.
our_disks() {
    for dir in /sys/block/*; do
        name=${dir##*/}
        case $name in loop* | ram* | sr* | fd* | dm-* | zram*) continue ;; esac
        [ "$(disk_guid "$name")" = "$guid" ] && echo "$name"
    done
}

# The name of partition number $2 on disk $1.
partition() {
    for file in "/sys/block/$1/$1"*/partition; do
        [ -r "$file" ] && [ "$(cat "$file")" = "$2" ] && basename "${file%/partition}" && return
    done
    return 1
}

# The id of the image in the slot of disk $1.
image_on() {
    device=$(partition "$1" "$root_number") || return
    mount -t ext4 -o ro,noload "/dev/$device" /sysroot 2>/dev/null || return
    sed -n 's/^id=//p' /sysroot/boot/chatimg-id
    umount /sysroot
}

# Sets disk to the one whose slot holds the image that GRUB means. Another disk may carry the appliance, too: the stick
# it came on, or one that is being replaced. If even the image is the same, nobody can tell which data are meant.
find_disk() {
    disk='' found=''
    for name in $(our_disks); do
        image=$(image_on "$name")
        found="$found $name holds ${image:-none},"
        [ "$image" = "$id" ] || continue
        [ -z "$disk" ] || fail "the disks $disk and $name both carry this box's image $id; take one of them out" 60
        disk=$name
    done
    [ -n "$disk" ]
}

wait_for_slot() {
    tries=0
    until find_disk; do
        tries=$((tries + 1))
        if [ "$tries" -ge 150 ]; then
            seen=$(cd /sys/block && echo *)
            fail "no disk with GUID $guid has image $id in slot $slot after 30 s ($found seen: $seen; modules that did not load:$unloaded)"
        fi
        sleep 0.2
    done
    # A second one may be slower to appear.
    sleep 1
    find_disk || fail "the disk $disk went away"
    root=$(partition "$disk" "$root_number") && data=$(partition "$disk" 6) && env=$(partition "$disk" 3) ||
        fail "the disk $disk lacks one of the partitions 3, $root_number and 6"
}

mount_slot() {
    mount -t ext4 -o ro,noload "/dev/$root" /sysroot || fail "slot $slot (/dev/$root) cannot be mounted"
    mount_kernel_file_systems /sysroot
}

in_slot() { chroot /sysroot /usr/bin/env PATH=/usr/sbin:/usr/bin LC_ALL=C "$@"; }

# Nothing here is fatal: a data partition that stays small still works.
grow_partition() {
    size=$(cat "/sys/block/$disk/size")
    start=$(cat "/sys/block/$disk/$data/start")
    end=$((start + $(cat "/sys/block/$disk/$data/size")))
    # sfdisk tells of a copy of the table that is damaged or not at the end of the disk.
    trouble=$(in_slot sfdisk --dump "/dev/$disk" 2>&1 >/dev/null)
    if [ -n "$trouble" ]; then
        in_slot sfdisk --quiet --no-reread --no-tell-kernel --relocate gpt-bak-std "/dev/$disk" ||
            say "the partition table's backup cannot be moved to the end of the disk"
    fi
    # 1 MiB at the end belongs to the backup table, and alignment may cost another.
    [ $((size - end)) -gt 4096 ] || return
    echo ", $(((size - start) / 2048 * 2048 - 2048))" |
        in_slot sfdisk --quiet --force --no-reread --no-tell-kernel -N 6 "/dev/$disk" &&
        in_slot partx --update --nr 6 "/dev/$disk" &&
        say "data partition: $(((end - start) / 2048)) MiB, now $(($(cat "/sys/block/$disk/$data/size") / 2048)) MiB" ||
        say "the data partition cannot be grown"
    sync
}

starts_with() { # FILE SKIP-SECTORS TEXT
    [ "$(dd if="$1" bs=512 skip="$2" count=1 2>/dev/null | head -c ${#3} | tr -d '\0')" = "$3" ]
}

write_note() { # TEXT (one sector, padded)
    { echo "$1"; dd if=/dev/zero bs=512 count=1 2>/dev/null; } | head -c 512 |
        dd of="/dev/$env" bs=512 seek=64 conv=fsync,notrunc 2>/dev/null ||
        fail "partition 3 (/dev/$env) cannot be written"
}

format_data_if_blank() {
    if starts_with "/dev/$data" 0 CHATIMG-BLANK-DATA-1; then
        write_note CHATIMG-FORMATTING-1
    elif ! starts_with "/dev/$env" 64 CHATIMG-FORMATTING-1; then
        return
    fi
    say "formatting the data partition"
    in_slot mkfs.xfs -q -f -L chatimg-data -m crc=1,finobt=1,reflink=1,bigtime=1 "/dev/$data" ||
        fail "the data partition (/dev/$data) cannot be formatted" 60
    blockdev --flushbufs "/dev/$data"
    sync
    write_note CHATIMG-FORMATTED-1
}

mount_data() {
    [ -d /sysroot/state ] || fail "the image has no directory /state"
    tries=0
    until mount -t xfs -o noatime,nosuid,nodev "/dev/$data" /sysroot/state; do
        tries=$((tries + 1))
        [ "$tries" -lt 3 ] ||
            fail "the data partition (/dev/$data) cannot be mounted; its contents are left as they are" 60
        sleep 2
    done
    in_slot xfs_growfs -d /state >/dev/null || say "the data file system cannot be grown"
}

# settle MODE UID GID PATH: makes PATH in /state, at first with the image's own contents.
settle() {
    from=/sysroot$4 to=/sysroot/state$4 stamp=/sysroot/state/.chatimg/settled/$(echo "$4" | tr / =)
    [ -e "$to" ] && [ -e "$stamp" ] && return
    if [ ! -e "$to" ]; then
        new=/sysroot/state/.chatimg/new
        rm -rf "$new"
        mkdir -p "${to%/*}"
        if [ -e "$from" ]; then cp -a "$from" "$new"; else mkdir "$new"; fi && sync && mv "$new" "$to" ||
            fail "$4 cannot be made on the data partition" 60
    fi
    chown "$2:$3" "$to" && chmod "$1" "$to" && : >"$stamp" ||
        fail "owner and mode of $4 cannot be set on the data partition" 60
}

# Parents come before children, and a child inside a bound parent is there already.
bind() { # PATH
    for parent in $bound; do
        case $1/ in "$parent"/*) return ;; esac
    done
    [ -e "/sysroot$1" ] || fail "the image has no $1 to bind state to"
    mount -o bind "/sysroot/state$1" "/sysroot$1" || fail "$1 cannot be bound to the data partition"
    bound="$bound $1"
}

set_up_state() {
    list=/sysroot/usr/lib/chatimg/state
    [ -r "$list" ] || fail "the image has no /usr/lib/chatimg/state"
    mkdir -p /sysroot/state/.chatimg/settled
    chmod 0700 /sysroot/state/.chatimg
    # All is copied before anything is bound: binding hides the image's own contents.
    while read -r mode uid gid path; do settle "$mode" "$uid" "$gid" "$path"; done <"$list"
    while read -r mode uid gid path; do bind "$path"; done <"$list"
}

set_machine_id() {
    file=/sysroot/state/etc/machine-id
    if ! grep -qE '^[0-9a-f]{32}$' "$file" 2>/dev/null; then
        mkdir -p "${file%/*}"
        # /dev/random waits until the kernel has gathered enough randomness.
        hexdump -n 16 -e '16/1 "%02x" "\n"' /dev/random >"$file.new"
        chmod 0444 "$file.new"
        sync
        mv "$file.new" "$file" || fail "the machine id cannot be written" 60
    fi
    [ -e /sysroot/etc/machine-id ] || fail "the image has no /etc/machine-id to bind to"
    mount -o bind "$file" /sysroot/etc/machine-id || fail "the machine id cannot be bound"
}

umask 022
mkdir -p /proc /sys /dev /run /sysroot
mount_kernel_file_systems ""
exec </dev/console >/dev/console 2>&1
read_command_line
load_modules
wait_for_slot
mount_slot
grow_partition
format_data_if_blank
mount_data
set_up_state
set_machine_id
umount -l /run
umount -l /dev
umount -l /sys
umount -l /proc
exec switch_root /sysroot /sbin/init
fail "/sbin/init of slot $slot cannot be started"
