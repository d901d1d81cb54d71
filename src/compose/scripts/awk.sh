#!/bin/sh
# Stands before awk. ucf unsets all variables that awk tells it of but a few; without those of fakeroot, owners and modes of what it
# makes would be lost, and those of libfaketime and Perl make it the same every time.
here=/.chatimg
PATH=${PATH#"$here/bin:"}
case $* in
    "BEGIN{for(v in ENVIRON) print v}")
        awk "$@" | grep -v -x -e LD_PRELOAD -e 'FAKE.*' -e '.*FAKE_.*' -e TZ -e PERL_HASH_SEED -e SOURCE_DATE_EPOCH
        ;;
    *) exec awk "$@" ;;
esac
