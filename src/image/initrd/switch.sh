# The way from one image to another (docs/update.md): the state must fit the image that starts, and an image on trial
# must not hang for ever.

switch_file=/sysroot/state/.chatimg/switch

# Sets trial to yes if GRUB started this slot to prove itself. Of the copies of the boot state, those of partition 3 are
# read, which the box writes first. In them, GRUB counts no tries; that says nothing about which slot is on trial.
read_boot_state() {
    best='' good='' try='' trial=''
    for name in $disks; do
        state=$(head -c 512 "/dev/$(partition "$name" 3)" | tr -d '\0')
        gen=$(echo "$state" | sed -n 's/^gen=\([0-9]\{1,15\}\)$/\1/p')
        [ -n "$gen" ] || continue
        [ -z "$best" ] || [ "$gen" -gt "$best" ] || continue
        best=$gen
        good=$(echo "$state" | sed -n 's/^good=//p')
        try=$(echo "$state" | sed -n 's/^try=//p')
    done
    if [ "$try" = "$slot" ] && [ "$good" != "$slot" ]; then trial=yes; fi
}

switch_value() { sed -n "s/^$1=//p" "$switch_file"; }

set_touched() { # restoring, yes, returning or back
    sed "s/^touched=.*/touched=$1/" "$switch_file" >"$switch_file.new" && sync &&
        mv "$switch_file.new" "$switch_file" && sync ||
        fail "the data partition cannot be written" 60
}

# put_back NAME TIME: the snapshot's folders take the place of what is there, which goes aside. Only renames: each is
# done or not done when the power goes. They take little space, of which the box has kept a reserve.
put_back() {
    from=/sysroot/state/.chatimg/snapshots/$1 aside=/sysroot/state/.chatimg/aside/$2-$1
    [ -r "$from/paths" ] || fail "the snapshot $1 of the data is not there; the data are left as they are" 60
    while read -r path; do
        [ -e "$from/state$path" ] || continue # Done before the power went.
        if [ -e "/sysroot/state$path" ]; then
            mkdir -p "$aside/state${path%/*}" && mv "/sysroot/state$path" "$aside/state$path" ||
                fail "$path cannot be moved aside on the data partition" 60
        fi
        mkdir -p "/sysroot/state${path%/*}" && mv "$from/state$path" "/sysroot/state$path" ||
            fail "$path cannot be put back from the snapshot $1" 60
        sync
    done <"$from/paths"
    say "the data of the snapshot $1 are in place"
}

# Before any state is bound.
settle_switch() {
    read_boot_state
    [ -e "$switch_file" ] || return
    touched=$(switch_value touched) time=$(switch_value time)
    if [ -n "$trial" ] && [ "$(switch_value to)" = "$id" ]; then
        case $touched in
        no | restoring)
            restore=$(switch_value restore)
            if [ -n "$restore" ]; then
                set_touched restoring
                put_back "$restore" "$time"
            fi
            set_touched yes
            ;;
        returning | back) fail "the data are those of the image $(switch_value from) again; this trial is over" ;;
        esac
    elif [ "$good" = "$slot" ] && [ "$(switch_value from)" = "$id" ] &&
        case $touched in restoring | yes | returning) true ;; *) false ;; esac; then
        say "the image $(switch_value to) has not proved itself"
        # It may have filled the disk.
        rm -f /sysroot/state/.chatimg/reserve && sync
        set_touched returning
        put_back "$(switch_value snapshot)" "$time"
        set_touched back
    fi
}

# The machine's own watchdog restarts it if the start hangs from here to systemd, which takes it over. It is closed
# without the letter that would stop it. Drivers count with the name of their own parameter.
start_watchdog() {
    if [ ! -e /dev/watchdog ]; then
        insmod /lib/modules/softdog.ko soft_margin=180 2>/dev/null
    fi
    feed_watchdog
}

feed_watchdog() { [ ! -e /dev/watchdog ] || echo >/dev/watchdog; }

# Whatever an image on trial does, it is over after 20 minutes unless the gate ends this process. The kernel's file stays
# open, for this root is gone by then.
guard_trial() {
    [ -n "$trial" ] || return
    (
        exec 3>/proc/sysrq-trigger
        sleep 1200
        echo "chatimg: the trial of image $id takes too long; restarting"
        echo s >&3
        sleep 5
        echo b >&3
    ) &
    run=/sysroot/run
    mkdir -p $run/chatimg && echo $! >$run/chatimg/guard.pid
    # The gate judges even if nothing else of the image's trial works; and where ports cannot be closed, nobody may write.
    : >$run/chatimg/trial
    for unit in chatimg-trial nftables; do
        mkdir -p "$run/systemd/system/$unit.service.d"
        printf '[Unit]\nFailureAction=reboot-force\n' >"$run/systemd/system/$unit.service.d/chatimg-trial.conf"
    done
}
