# Runs a command in circumstances that differ from the usual ones in what is named; in namespaces of its own (unshare --net --mount --uts).
#
#   elsewhere.sh "VARIATION ..." OWN PLACE PROJECT IMAGE LIBRARY COMMAND...
#
# OWN is an empty folder and seen as PLACE; PLACE/project is a copy of PROJECT, PLACE/image is IMAGE, PLACE/store is for anybody. What
# variables make (environment, home, locales, exec_path, timezone) and build_path are the caller's; instead of file_system it names
# "tmpfs" where that is wanted, and "large" where store and images would take too long to go through disorderfs.
set -e
# Or in a namespace whose only user is called root.
root=
if [ "$(id -u)" = 0 ] && [ "$(awk '{ print $3 }' /proc/self/uid_map)" != 1 ]; then
    root=yes
fi
variations=" $1 " own=$2 place=$3 project=$4 image=$5 library=$6
shift 6
varies() {
    case $variations in *" $1 "*) ;; *) false ;; esac
}
umask 022

if varies domain_host; then
    hostname elsewhere.example
    domainname example
fi
if varies tmpfs; then
    mount -t tmpfs -o mode=755,size=90% none "$own"
fi
mkdir "$own/image" "$own/store"
cp -dR --preserve=mode,timestamps "$project" "$own/project"
mkdir "$own/project/images"
chmod 777 "$own/store" "$own/project/images"
mkdir -p "$place"
shuffled() {
    disorderfs --shuffle-dirents=yes --multi-user="${root:-no}" -q "$1" "$2"
}
if varies fileordering && ! varies large; then
    shuffled "$own" "$place"
else
    mount --bind "$own" "$place"
fi
if varies fileordering && varies large; then
    mv "$own/project/images" "$own/images"
    ln -s ../images "$own/project/images"
    mv "$own/project" "$own/plain"
    mkdir "$own/project"
    shuffled "$own/plain" "$place/project"
fi
mount --bind "$image" "$place/image"

# By these files every program, also one that is given no environment, takes the date; from the moment on that the first one names the
# library. It is more than 398 days ahead, and seconds since 1970 have no place in 31 bits any more.
if varies time; then
    mkdir "$own/etc"
    cp -a /etc/. "$own/etc" 2>/dev/null || : # not all of it is for everybody
    : > "$own/etc/ld.so.preload"
    chmod 666 "$own/etc/ld.so.preload"
    echo "@2039-01-20 03:14:08" > "$own/etc/faketimerc"
    mount --bind "$own/etc" /etc
    mount -t tmpfs -o mode=1777 none /dev/shm # where libfaketime leaves things
fi

if varies num_cpus; then
    allowed=$(taskset -cp $$)
    set -- taskset -c "${allowed##*[!0-9]}" "$@"
fi
kernel=$(uname -m) options=
if varies kernel; then
    kernel=linux32 options=--uname-2.6
fi
if varies aslr; then
    options="$options --addr-no-randomize"
fi
if [ -n "$options" ]; then
    set -- setarch "$kernel" $options "$@"
fi
if varies time; then
    set -- sh -c 'echo "$0" > /etc/ld.so.preload; exec "$@"' "$library" "$@"
fi
if varies user_group; then
    if [ "$root" ]; then
        set -- setpriv --reuid=65533 --regid=65532 --clear-groups "$@"
    else
        set -- unshare --user --map-user=65533 --map-group=65532 "$@"
    fi
fi
cd "$place"
if varies umask; then
    umask 077
fi
code=0
"$@" || code=$?
umask 022
if varies time; then
    : > "$own/etc/ld.so.preload"
fi
if [ "$(ls -A project/images | grep -v '^\.lock$')" ]; then
    echo "it left something in images/" >&2
    code=1
fi
cd /
umount "$place/image"
if varies fileordering && varies large; then
    umount "$place/project" || umount --lazy "$place/project"
fi
umount "$place" || umount --lazy "$place"
exit $code
