# Runs a command elsewhere: on another host, at another time, as another user, on one processor, with a kernel that says
# it is another one and always places programs alike, with folders listed in a random order.
#
#   elsewhere.sh WORK FOLDER IMAGE LIBRARY DATE COMMAND...
#
# WORK/project is FOLDER in another order, WORK/image is IMAGE. In namespaces of its own (unshare --net --mount --uts).
set -e
work=$1 folder=$2 image=$3 library=$4 date=$5
shift 5
umask 022
hostname elsewhere.example

# By these files every program, also one that is given no environment, takes the date; from the moment on that the first one names the
# library.
mkdir "$work/etc"
cp -a /etc/. "$work/etc" 2>/dev/null || : # not all of it is for everybody
: > "$work/etc/ld.so.preload"
chmod 666 "$work/etc/ld.so.preload"
echo "@$date" > "$work/etc/faketimerc"
mount --bind "$work/etc" /etc
mount -t tmpfs -o mode=1777 none /dev/shm # where libfaketime leaves things

mkdir "$work/image" "$work/project"
mount --bind "$image" "$work/image"
if [ -e /dev/fuse ]; then
    disorderfs --shuffle-dirents=yes --multi-user=yes -q "$folder" "$work/project"
else
    echo "no /dev/fuse: folders are listed as ever" >&2
    mount --bind "$folder" "$work/project"
fi

user=
if [ "$(id -u)" = 0 ] && [ "$(awk '{ print $3 }' /proc/self/uid_map)" != 1 ]; then
    user="setpriv --reuid=65533 --regid=65532 --clear-groups"
fi
umask 077
code=0
cd /
$user sh -c 'echo "$0" > /etc/ld.so.preload; exec "$@"' "$library" \
    setarch "$(uname -m)" --addr-no-randomize --uname-2.6 taskset -c 0 "$@" || code=$?
: > "$work/etc/ld.so.preload"
umount "$work/project" || umount --lazy "$work/project"
exit $code
