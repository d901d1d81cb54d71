#!/bin/sh
# Stands before runuser, setpriv and su. To faked a new file is root's, whoever opens it first: what comes up while one of these runs
# is given to its user afterwards.
here=/.chatimg
name=${0##*/}
PATH=${PATH#"$here/bin:"}

user=
option=
options=0
for word in "$@"; do
    case $option in
        -u | --user | --reuid | --euid) user=$word ;;
    esac
    options=$((options + 1))
    if [ -n "$option" ]; then
        option=
        continue
    fi
    case $word in
        --) break ;;
        --user=* | --reuid=* | --euid=*) user=${word#*=} ;;
        -[cgGsuw] | --command | --session-command | --group | --supp-group | --shell | --user | --whitelist-environment) option=$word ;;
        --[er]uid | --reuid | --[er]gid | --regid | --groups | --*-caps | --bounding-set | --securebits | --pdeathsig) option=$word ;;
        -*) ;;
        *)
            [ "$name" = setpriv ] || [ -n "$user" ] || user=$word
            options=$((options - 1))
            break
            ;;
    esac
done

# It wants to keep capabilities, which nobody here may.
if [ "$name" = setpriv ] && id "$user" >/dev/null 2>&1; then
    shift $options
    set -- -u "$(id -un "$user")" -- "$@"
    name=runuser
fi

# Inode and path of everything.
all() {
    env -u LD_PRELOAD find / -xdev \( -path /dev -o -path /proc -o -path $here \) -prune -o -printf '%i %p\0' | LC_ALL=C sort -z
}

list=$here/as.$$
all >"$list"
"$name" "$@"
result=$?
if id "$user" >/dev/null 2>&1 && [ "$(id -u "$user")" != 0 ]; then
    all | LC_ALL=C comm -z -13 "$list" - | cut -z -d ' ' -f 2- | xargs -0 -r sh -c '
        user=$1
        shift
        for path; do
            [ "$(stat -c %u "$path")" = 0 ] || continue
            folder=${path%/*}/
            if [ -g "$folder" ]; then
                chown -h "$user" "$path" && chgrp -h --reference="$folder" "$path"
            else
                chown -h "$user:" "$path"
            fi
        done' sh "$user"
fi
rm -f "$list"
exit $result
