# What lies on the data partition, mounted on /sysroot/state: state directories, the machine's id, host settings.

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

# Host settings come with a disk as it was flashed, in partition 7. They may hold secrets: once they are safe on the data
# partition (where the system takes them in, see /usr/lib/chatimg/host-settings), they are erased from every disk. A box
# that has settings keeps them: what a disk brings that was away at the first boot is older.
take_settings() {
    dir=/sysroot/state/var/lib/chatimg/host
    for name in $disks; do
        part=/dev/$(partition "$name" 7) || continue
        starts_with "$part" 0 CHATIMG-SETTINGS-1 || continue
        if [ ! -e "$dir/incoming" ] && [ ! -e "$dir/settings.json" ]; then
            mkdir -p "$dir" && chmod 0700 "$dir" &&
                (umask 077; dd if="$part" of="$dir/incoming.new" bs=64k 2>/dev/null) && sync &&
                mv "$dir/incoming.new" "$dir/incoming" && sync ||
                { say "the host settings on $name cannot be copied to the data partition"; continue; }
        fi
        dd if=/dev/zero of="$part" bs=64k count=16 conv=fsync,notrunc 2>/dev/null ||
            say "the host settings on $name cannot be erased"
    done
}
