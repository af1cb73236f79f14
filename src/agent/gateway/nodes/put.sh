# Puts what comes on standard input in the place of a file, as a whole, or says what that would change. It says
# `same`, or `changed` with what it is that changes, and then the difference as `diff -u` has it.
path=$1 mode=$2 owner=$3 group=$4 check=$5 diff=$6
fail() {
	printf "%s\n" "$1" >&2
	exit 1
}
# A link stays one: what it leads to is replaced.
i=0
while [ -L "$path" ]; do
	to=$(readlink "$path") || fail "$path: failed to read the link"
	case $to in /*) path=$to ;; *) path=${path%/*}/$to ;; esac
	i=$((i + 1))
	[ "$i" -lt 40 ] || fail "$1: found a link that leads to itself, expected a file"
done
[ ! -e "$path" ] || [ -f "$path" ] || fail "$path: found something else, expected a file"
folder=${path%/*}
folder=${folder:-/}
[ -d "$folder" ] || fail "$folder: found no such folder"
umask 077
trap "exit 1" HUP INT TERM
if [ "$check" = check ]; then
	new=$(mktemp) || exit 1
	trap "rm -f \"\$new\"" EXIT
	cat >| "$new" || exit 1
else
	new=$folder/.replibook-put.$$
	# Nobody may have put a file or a link there before.
	set -C
	printf "" > "$new" || fail "$folder: failed to make a file there; it may be read-only, full, or not for this user"
	set +C
	trap "rm -f \"\$new\"" EXIT
	cat >> "$new" || exit 1
fi
what=""
if [ ! -e "$path" ]; then
	what=" created"
else
	cmp -s "$path" "$new" || what=" content"
	differs() { [ "$2" != - ] && [ -z "$(find "$path" -prune "$1" "$2")" ]; }
	if differs -perm "$mode"; then what="$what mode"; fi
	if differs -user "$owner"; then what="$what owner"; fi
	if differs -group "$group"; then what="$what group"; fi
fi
if [ -z "$what" ]; then
	printf "same\n"
	exit 0
fi
printf "changed%s\n" "$what"
if [ "$diff" = diff ]; then
	if [ -e "$path" ]; then old=$path; else old=/dev/null; fi
	diff -u "$old" "$new" 2> /dev/null | tail -n +3 | head -c MAX_DIFF
fi
[ "$check" = put ] || exit 0
# Whose the old file was, and what it allowed.
old() {
	shown=$1 uid=$3 gid=$4
	bits=""
	for at in 2 5 8; do
		three=$(printf "%s" "$shown" | cut -c "$at-$((at + 2))")
		bit=0
		case $three in r??) bit=4 ;; esac
		case $three in ?w?) bit=$((bit + 2)) ;; esac
		case $three in ??[xst]) bit=$((bit + 1)) ;; esac
		bits=$bits$bit
	done
}
bits=644
if [ -e "$path" ]; then
	old $(ls -ldn "$path")
	# Who may not give files away writes it anew, as an editor does.
	chown "$uid:$gid" "$new" 2> /dev/null
fi
if [ "$owner" != - ]; then chown "$owner" "$new" || exit 1; fi
if [ "$group" != - ]; then chgrp "$group" "$new" || exit 1; fi
if [ "$mode" = - ]; then mode=$bits; fi
chmod "$mode" "$new" && mv -f "$new" "$path"
