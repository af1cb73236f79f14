# What runs on a node, in any POSIX shell: one word says what to do, and the answer goes to standard output in parts
# that begin with a mark. The gateway strips these comments. Each process that is started costs as much as the rest
# together, so nearly all of this is done by the shell itself; that is also why what is handed over is never among the
# arguments of a process. There is no single quote and no doubled backslash in here: all login shells pass on the rest.
#
# A job is a folder. What is in it:
#   what      the record of the action, for the gateway
#   do        what to do; whole if it ends with a line break
#   try.PID   a process that would do it: who that is, and at last how it ended
#   started   which of these does it; who can make this file may begin, so nobody begins twice
#   out, err  what it wrote
#   why       why it was killed
#   script.PID  the text of a script

# Variables of these names that the login exports would take what we put into them to the job.
unset n v sent kind secret timeout become enc record input text run
verb=$1 dir=$2 id=$3 stay=$4
# The word of the marks: other users see arguments, and who knew it could have a job say how it ended.
read -r n || exit 0
case $dir in /*) ;; *) dir=${HOME:-/}/$dir ;; esac
job=$dir/jobs/$id
exec 3>&1

say() { printf "@%s %s\n" "$n" "$*" >&3; }

bye() { say bye; exit 0; }

# The time since the boot, which nobody sets; where there is none, the clock.
now() { { read -r up rest < /proc/uptime; } 2> /dev/null || up=$(date +%s); }

# The time at which process $1 was born is $b. Fails if there is no such process.
birth() {
	if [ -r /proc/self/stat ]; then
		{ read -r b < "/proc/$1/stat"; } 2> /dev/null || return 1
		set -- ${b##*") "}
		b=${20}
		case $1 in [ZX]) return 1 ;; esac
	else
		kill -0 "$1" 2> /dev/null || return 1
		set -- $(LC_ALL=C ps -o stat= -o lstart= -p "$1" 2> /dev/null)
		case ${1:-} in [ZX]*) return 1 ;; esac
		if [ "$#" -gt 0 ]; then shift; fi
		IFS=_
		b=$*
		unset IFS
		b=${b:--}
	fi
}

# Who this process is: $me, $b, and the group that it leads together with what it starts.
who() {
	group=-
	if { read -r me rest < /proc/self/stat; } 2> /dev/null; then
		set -- ${rest##*") "}
		b=${20}
		[ "$3" = "$$" ] && group=$3
	else
		me=$(exec sh -c "echo \$PPID")
		birth "$me" || b=-
		led=$(ps -o pgid= -p "$me" 2> /dev/null)
		[ "${led##* }" = "$$" ] && group=$$
	fi
}

# The words of a program that is not the shell: those of the shell may not name the reason.
fail() {
	case $1 in write | claim) printf "%512s" "" | LC_ALL=C tee "$job/probe" > /dev/null && rm -f "$job/probe" ;; esac
	say fail "$1"
	bye
}

# What became of attempt $1: $st.
attempt() {
	read_attempt "$1"
	if [ "$eok" = ok ]; then
		st=ended
	elif [ "$tboot" != "$boot" ] && [ "$tboot" != - ] && [ "$boot" != - ]; then
		st=lost lost=rebooted
	elif [ "$tpid" != 0 ] && birth "$tpid" && { [ "$b" = "$tb" ] || [ "$b" = - ] || [ "$tb" = - ]; }; then
		st=running
	else
		# It may have ended since it was read.
		read_attempt "$1"
		if [ "$eok" = ok ]; then st=ended; else st=lost lost=killed; fi
	fi
}

read_attempt() {
	ok="" eok="" code=- eup=$up
	{ { read -r tboot tpid tb tup group ok && read -r e code eup eok; } < "$job/try.$1"; } 2> /dev/null
	# A power cut may leave an empty file. Process 0 would be the whole group of the asker.
	[ "$ok" = ok ] || tboot=- tpid=0 tb=- tup=$up group=-
}

# What the job does: new, running, ended or lost.
state() {
	st=new ok="" code=- tup=$up
	[ -e "$job/started" ] || return 0
	{ read -r tpid ok < "$job/started"; } 2> /dev/null
	if [ "$ok" = ok ]; then
		attempt "$tpid"
	else
		# Whoever made the file was killed before it had its number in it, or is about to write it.
		st=lost lost=killed
		for t in "$job"/try.*; do
			attempt "${t##*.}"
			case $st in running) return 0 ;; esac
		done
	fi
}

# How it ended, and what it wrote.
tell() {
	if [ -s "$job/out" ]; then
		say out
		head -c MAX_STDOUT "$job/out" >&3
		printf "\n" >&3
	fi
	if [ -s "$job/err" ]; then
		say err
		tail -c MAX_STDERR "$job/err" >&3
		printf "\n" >&3
	fi
	why=-
	{ read -r why < "$job/why"; } 2> /dev/null
	say end "$code" "$tup" "$eup" "$why" "$tboot"
}

# Begins the job unless another process does, and sees it to its end.
work() {
	# It goes on when nobody listens any more. The job itself gets the signals as they were.
	trap : HUP TERM PIPE
	who
	tup=$up tboot=$boot
	script=$job/script.$me
	{
		printf "%s %s %s %s %s ok\n%-60s\n" "$boot" "$me" "$b" "$tup" "$group" "" > "$job/try.$me" &&
			printf "" >> "$job/out" &&
			printf "" >> "$job/err" &&
			{ [ "$text" = - ] || printf %b "$text" > "$script"; }
	} || fail write
	set -C
	if { printf "%s ok\n" "$me" > "$job/started"; } 2> /dev/null; then
		set +C
	else
		[ -s "$job/started" ] || fail write
		say known
		bye
	fi
	exec 2> /dev/null
	say begun "$tup" "$up"
	if [ "$enc" = 1 ]; then run=$(printf %b "$run"); fi
	cd "${HOME:-/}"
	if [ "$input" = - ]; then
		(eval "$run") 3>&- >> "$job/out" 2>> "$job/err" < /dev/null
	else
		printf %b "$input" 3>&- | (
			unset input text
			eval "$run"
		) 3>&- >> "$job/out" 2>> "$job/err"
	fi
	code=$?
	now
	eup=$up
	# The room for this was taken before the job began: a full disk must not make us forget how it ended.
	printf "%s %s %s %s %s ok\n%-60s\n" "$boot" "$me" "$b" "$tup" "$group" "end $code $eup ok" 1<> "$job/try.$me"
	tell
	bye
}

# The answer goes on in another process, so that the session ends with us and not with the job.
begin() {
	work < /dev/null > /dev/null &
	[ "$stay" = stay ] && wait
	exit 0
}

refuse() {
	say fail "$1"
	bye
}

start() {
	if [ "$1" = bulk ]; then
		set -f
		set -- $(cat)
		set +f
		v=$1 sent=$2 kind=$3 secret=$4 timeout=$5 become=$6 enc=$7 record=$8 input=$9
		shift 9
		text=$1 run=$2
		[ "$3" = end ] || refuse cut
	else
		read -r v sent kind secret timeout become enc record input text run || refuse cut
	fi
	if [ "$input$text" != -- ]; then PATH=/nonexistent printf "" 2> /dev/null || refuse printf; fi
	if [ "$become" != - ]; then LC_ALL=C sudo -n -l > /dev/null || refuse sudo; fi
	new=""
	if ! mkdir "$job" 2> /dev/null; then
		if [ ! -d "$job" ]; then
			[ -d "$dir" ] || LC_ALL=C mkdir -p -m 700 "$dir" || [ -d "$dir" ] || refuse folder
			[ -O "$dir" ] || refuse owner
			[ -d "$dir/jobs" ] || LC_ALL=C mkdir -m 700 "$dir/jobs" || [ -d "$dir/jobs" ] || refuse folder
			LC_ALL=C mkdir "$job" || [ -d "$job" ] || refuse folder
		else
			new=.$$
		fi
	fi
	if [ -e "$job/started" ]; then
		say known
		bye
	fi
	# What had not begun when the node was rebooted may have: see `settle`.
	st=new
	if [ -n "$new" ]; then
		if { read -r r1 r2 r3 r4 r5 r6 dboot rest < "$job/do"; } 2> /dev/null; then
			settle
		elif [ -e "$job/out" ]; then
			# See `meet`.
			st=lost
		fi
	fi
	if [ "$st" = lost ]; then
		say known
		bye
	fi
	keep="$input $text"
	[ "$secret" = 1 ] && keep="- -"
	what=write
	if [ -z "$new" ]; then
		# Nobody can begin what we could not write; and what another one wrote in between is left as it is, so that `do`
		# is whole from the first attempt on.
		what=claim
		set -C
		note "" 2> /dev/null || new=.$$
		set +C
	fi
	if [ -n "$new" ]; then
		note "$new" && mv -f "$job/what$new" "$job/what" && mv -f "$job/do$new" "$job/do" || fail "$what"
	fi
	begin
}

note() {
	printf "%s\n" "$record" > "$job/what$1" &&
		printf "%s\n" "$v $sent $kind $secret $timeout $become $boot $enc $keep $run" > "$job/do$1"
}

read_do() {
	{ read -r v sent kind secret timeout become dboot enc input text run < "$job/do"; } 2> /dev/null
}

# A job that had not begun when the node was rebooted may have: what it wrote may not have reached the disk.
settle() {
	case $st in new)
		if [ "$dboot" != "$boot" ] && [ "$dboot" != - ] && [ "$boot" != - ]; then st=lost lost=rebooted; fi
		;;
	esac
}

# Reads a job, or says why there is nothing to read. `what` and `do` are whole before `out` is made, but a power cut may
# keep names of files and lose what is in them: then it had begun, and nobody knows more.
meet() {
	if read_do; then
		if [ "$dboot" = "$boot" ] && [ "$boot" != - ]; then return 0; fi
		if { [ "$(wc -l < "$job/what")" -gt 0 ]; } 2> /dev/null; then return 0; fi
	elif [ ! -e "$job/started" ] && [ ! -e "$job/out" ]; then
		say none
		bye
	fi
	say lost torn "$up"
	bye
}

look() {
	meet
	state
	settle
	say job "$v" "$sent" "$kind"
	say what
	cat "$job/what" >&3
	case $st in
	new)
		if [ "$secret" = 1 ]; then say new; else begin; fi
		;;
	running)
		end_it
		say running "$tup"
		;;
	lost)
		if [ -e "$job/why" ]; then
			code=137 eup=$up
			tell
		else
			say lost "$lost" "$tup"
		fi
		;;
	ended) tell ;;
	esac
	bye
}

# Ends a job that takes too long, or writes too much: gently first, and at the next look for good.
end_it() {
	over=""
	if [ "$timeout" -gt 0 ] && [ $((${up%%.*} - ${tup%%.*})) -ge "$timeout" ]; then
		over=timeout
	elif [ -n "$(find "$job/out" "$job/err" -size +MAX_BLOCKS 2> /dev/null)" ]; then
		over=output
	fi
	if [ -z "$over" ]; then return 0; fi
	sig=KILL
	if [ ! -e "$job/why" ]; then
		sig=TERM
		printf "%s\n" "$over" > "$job/why"
	fi
	if [ "$group" = - ]; then whom=$tpid; else whom=-$group; fi
	kill -s "$sig" -- "$whom" 2> /dev/null
	if [ "$become" != - ]; then sudo -n -u "$become" kill -s "$sig" -- "$whom" 2> /dev/null; fi
}

output() {
	read_do || {
		say none
		bye
	}
	state
	settle
	case $st in new | running) say piece 0 ;; *) say piece 1 ;; esac
	if [ -s "$job/$1" ]; then tail -c "+$(($2 + 1))" "$job/$1" | head -c MAX_PIECE >&3; fi
	printf "\n" >&3
	bye
}

list() {
	i=0
	for job in "$dir"/jobs/*; do
		read_do || continue
		state
		settle
		if [ "$st" = lost ] && [ -e "$job/why" ]; then st=ended code=137; fi
		say job "${job##*/}" "$sent" "$kind" "$st" "$code"
		i=$((i + 1))
		[ "$i" -lt MAX_LISTED ] || break
	done
	bye
}

# Forgets jobs that were sent before second $1 and are over. A claim of which nothing came is forgotten at once: whoever
# made it can't write into it any more, and begins nothing.
purge() {
	i=0
	for job in "$dir"/jobs/*; do
		read_do || {
			rmdir "$job" 2> /dev/null
			continue
		}
		[ "${sent%???}" -lt "$1" ] || continue
		state
		case $st in running) continue ;; esac
		rm -rf "$job" && i=$((i + 1))
	done
	say purged "$i"
	bye
}

# Waits until nobody else runs the command for the status, and ends it if it takes too long. Fails if it goes on. Where
# nothing can be written, nobody waits.
turn() {
	[ -d "$dir" ] || mkdir -p -m 700 "$dir" 2> /dev/null
	who
	i=0
	while [ "$i" -lt STATUS_TURNS ]; do
		set -C
		{ printf "%s %s %s %s %s ok\n" "$boot" "$me" "$b" "$up" "$group" > "$dir/status"; } 2> /dev/null
		code=$?
		set +C
		if [ "$code" = 0 ] || [ ! -e "$dir/status" ]; then return 0; fi
		ok="" mine=$b
		{ read -r tboot tpid tb tup tgroup ok < "$dir/status"; } 2> /dev/null
		if [ "$ok" = ok ] && [ "$tboot" = "$boot" ] && birth "$tpid" && [ "$b" = "$tb" ]; then
			now
			if [ $((${up%%.*} - ${tup%%.*})) -ge STATUS_SECONDS ]; then
				if [ "$tgroup" = - ]; then tgroup=$tpid; else tgroup=-$tgroup; fi
				kill -s KILL -- "$tgroup" 2> /dev/null
				rm -f "$dir/status"
			else
				sleep 1
			fi
		elif [ "$ok" = ok ] || [ "$i" -gt 0 ]; then
			# It is gone, or was cut off before it said who it is.
			rm -f "$dir/status"
		else
			sleep 1
		fi
		b=$mine
		i=$((i + 1))
	done
	return 1
}

facts() {
	set -f
	say uname $(uname -snrm)
	set +f
	os="" version=""
	{
		while read -r line; do
			case $line in
			ID=*) os=${line#ID=} ;;
			VERSION_ID=*) version=${line#VERSION_ID=} ;;
			esac
		done < /etc/os-release
	} 2> /dev/null
	say os "$os" "$version"
	if [ -r /proc/uptime ]; then say uptime "$up"; fi
	i=0
	for f in "$dir"/facts/*; do
		# Of a pipe the read would wait for ever.
		[ -f "$f" ] || continue
		line=""
		{ read -r line < "$f"; } 2> /dev/null
		say own
		printf "%s %.1024s\n" "${f##*/}" "$line" >&3
		i=$((i + 1))
		[ "$i" -lt MAX_OWN ] || break
	done
	if [ "$#" -gt 0 ]; then
		say status
		code=0
		if turn; then
			# When whoever asked gives up, this shell may be ended, and the command goes on.
			(
				who
				if [ -e "$dir/status" ]; then printf "%s %s %s %s %s ok\n" "$boot" "$me" "$b" "$up" "$group" > "$dir/status"; fi
				"$@"
			) < /dev/null 2> /dev/null 3>&-
			code=$?
			rm -f "$dir/status"
		else
			printf "UNKNOWN: the status command that was begun before is still at work\n" >&3
		fi
		printf "\n" >&3
		say code "$code"
	fi
	bye
}

boot=-
{ read -r boot < /proc/sys/kernel/random/boot_id; } 2> /dev/null
now
printf "\n" >&3
say hi "$up" "$boot"
# Whoever else could write in the folder could say there what is to be done, in our name.
if [ "$verb" != facts ] && [ -e "$dir" ] && [ ! -O "$dir" ]; then refuse owner; fi
shift 4
"$verb" "$@"
