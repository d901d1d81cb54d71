# What reprotest runs in each copy of the small project: all of it is built, from an archive, in a store of its own.
set -e
export CHATIMG_STORE="$PWD/store"
./chatimg build
./chatimg verify --files-only
cp images/current/SHA256SUMS result
