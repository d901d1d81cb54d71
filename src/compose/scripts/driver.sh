#!/bin/sh
# Runs dpkg on what is left to do, with what makes that come out the same everywhere (src/compose/scripts/mod.rs). Its
# folder has: owners, who owns what; triggers, names of packages, a line each; 1 and 2, what comes first and the rest, in it unpack and
# configure, names as well, and debs/.
here=/.chatimg
cd / || exit 1
umask 022
exec </dev/null 2>&1

# Files' owners and modes are what faked says, as nobody but the builder's user is there. Its key, which all scripts see, is random else;
# nobody else here has queues.
started=$($here/faked-sysv --key 19200 --load --save-file $here/owners.new <$here/owners) || exit 1
export FAKEROOTKEY="${started%%:*}"
faked=${started#*:}
# libfaketime and an allocator that asks for the time (jemalloc) wait for each other; with the C library named, its own is taken.
export LD_PRELOAD="$here/libfakeroot-sysv.so:$here/libfaketime.so.1:libc.so.6"

result=0
options="--force-unsafe-io --no-triggers"
for stage in $here/1 $here/2; do
    if [ $result = 0 ] && [ -s $stage/unpack ]; then
        # What they depend on is configured, or is about to be.
        dpkg $options --force-depends --unpack $stage/debs/*.deb || result=$?
    fi
    if [ $result = 0 ] && [ -s $stage/configure ]; then
        dpkg $options --configure $(cat $stage/configure) || result=$?
    fi
done
if [ $result = 0 ]; then
    # Others' triggers make caches, which finishing makes.
    for package in $(cat $here/?/configure $here/triggers); do
        case $(dpkg-query --show --showformat '${db:Status-Status}' "$package") in
            triggers-pending) dpkg --force-unsafe-io --triggers-only "$package" || result=$? ;;
        esac
    done
fi
# Capabilities are what only faked knows.
for package in $(cat $here/?/configure); do
    for script in "/var/lib/dpkg/info/$package.postinst" "/var/lib/dpkg/info/$package:"*.postinst; do
        if [ $result = 0 ] && [ -e "$script" ] && grep -q setcap "$script" && command -v getcap >$here/getcap; then
            getcap -r /usr /opt >$here/capabilities || result=$?
        fi
    done
done

unset LD_PRELOAD
kill -TERM "$faked"
tries=0
while kill -0 "$faked" 2>/dev/null && [ $tries -lt 600 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
exit $result
