#!/bin/sh
# chatimg's first process: from the kernel to the slot's /sbin/init. Run by busybox (static).
#
#   1. load the modules of /lib/modules/order
#   2. find the disks: by the GUIDs in their partition tables, and the image in their slot, which must be the one that
#      GRUB means; on a mirror, start the arrays, after a short wait on one disk, too
#   3. mount the slot read-only
#   4. grow the data partitions to the ends of the disks; make the array and the file system if the image's marker
#      allows that
#   5. mount it on /state; bring the state and the image together if one was changed; bind each line of
#      /usr/lib/chatimg/state to its place
#   6. take host settings from partition 7 to the data partition
#   7. switch_root
#
# A failure says one line on the console and restarts the machine, so that GRUB can take another slot or
# the disk another try. There is never a shell. Safe against a power cut at any point:
#   - the table: sfdisk writes the backup first; the kernel (`gpt`) uses either copy; a damaged one is
#     rewritten here
#   - formatting: a note in partition 3 stands from before the array and the file system are made until they are on the
#     disk, and while it stands nothing has ever been mounted from partition 6
#   - a state directory is filled under another name, synced, and renamed; a stamp says it is settled
# XFS replays its log when it is mounted; if it cannot be mounted, its data is left alone: restart and say so.
# /proc/cmdline: chatimg.slot=a|b chatimg.id=ID chatimg.disk=GUID[,GUID]; chatimg.esp and chatimg.skipped are for the box

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
    slot='' id='' guids='' mirror='' data_start=0
    for word in $(cat /proc/cmdline); do
        case $word in
        chatimg.slot=*) slot=${word#*=} ;;
        chatimg.id=*) id=${word#*=} ;;
        chatimg.disk=*) guids=$(echo "${word#*=}" | tr , ' ') ;;
        esac
    done
    case $slot in
    a) root_number=4 ;;
    b) root_number=5 ;;
    *) fail "the kernel was not told which slot to use (chatimg.slot=a or b)" ;;
    esac
    case $guids in
    *' '*) mirror=yes data_start=2048 ;;
    esac
}

load_modules() {
    while read -r name; do
        case $name in
        softdog) continue ;; # Only if there is no better one: start_watchdog.
        iTCO_wdt | i6300esb | sp5100_tco) options=heartbeat=180 ;;
        *) options='' ;;
        esac
        # Some only work on other hardware. What matters shows by the disk being there or not.
        # shellcheck disable=SC2086 # nothing, if there are none
        insmod "/lib/modules/$name.ko" $options 2>/dev/null || unloaded="$unloaded $name"
    done </lib/modules/order
}

# Sets root and data to the devices of the slot and of the data partition; those of a mirror are arrays.
start_root() {
    if [ -n "$mirror" ]; then
        choose_members
        mkdir -p /run/mdadm
        assemble 4 root-a
        assemble 5 root-b
        root=md$root_number data=md6
    else
        root=$(partition "${disks# }" "$root_number") data=$(partition "${disks# }" 6)
    fi
}

# After a first boot has made the array.
start_data() {
    [ -z "$mirror" ] || [ -e /sys/block/md6/md/array_state ] || assemble 6 data
}

mount_slot() {
    mount -t ext4 -o ro,noload "/dev/$root" /sysroot || fail "slot $slot (/dev/$root) cannot be mounted"
    mount_kernel_file_systems /sysroot
}

in_slot() { chroot /sysroot /usr/bin/env PATH=/usr/sbin:/usr/bin LC_ALL=C "$@"; }

# mdadm's map of its arrays goes along; everything else of this root is left behind.
hand_over() {
    [ ! -e /run/mdadm/map ] || { mkdir -p /sysroot/run/mdadm && cp /run/mdadm/map /sysroot/run/mdadm/map; }
    umount -l /run
    umount -l /dev
    umount -l /sys
    umount -l /proc
}

for part in disks mirror data switch state; do . "/lib/chatimg/$part.sh"; done
umask 022
mkdir -p /proc /sys /dev /run /sysroot
mount_kernel_file_systems ""
exec </dev/console >/dev/console 2>&1
read_command_line
load_modules
start_watchdog
wait_for_disks
start_root
mount_slot
for name in $disks; do grow_partition "$name"; done
format_data_if_blank
start_data
mount_data
settle_switch
guard_trial
set_up_state
set_machine_id
take_settings
hand_over
exec switch_root /sysroot /sbin/init
fail "/sbin/init of slot $slot cannot be started"
