# Commands whose output must be the same on Linux and on Jiffy, run by the same busybox. Each section
# begins with "#: title"; tests/programs/run cuts the output there and compares section by section, with
# the status of the section's last command. Nothing here may depend on the time, the machine, or ids.
# Run as `sh busybox.sh` in an empty directory of a tmpfs, as root or not.

exec 2>&1
umask 022
export LC_ALL=C TZ=UTC0
t() { printf '#: %s\n' "$*"; }
s() { echo "status $?"; }

t echo
echo hello world; echo -n 'no newline'; echo; echo -e 'a\tb\\n'; s
t printf
printf '%d %5d|%-5d|%05d %x %o %c %s %%\n' 1 2 3 4 255 8 z str; printf '%s-%s\n' a b c d; printf '%b' 'x\ty\n'; s
t true and false
true; s; false; s; ! true; s
t variables
a=1 b='two words'; echo "$a $b ${b#* } ${b%% *} ${#b} ${c:-default} ${c:=set} $c ${a:+yes}"; s
t arithmetic
echo $((2 + 3 * 4)) $((7 / 2)) $((7 % 3)) $((1 << 40)) $((0x1f & 017)) $((5 > 3 && 2 < 1)) $((-7 / 2)); i=5; echo $((i++ + ++i)) $i; s
t large numbers
echo $((9223372036854775807 + 1)) $((1 - 9223372036854775807 - 2)); s
t pipe
echo 'one two three' | tr ' ' '\n' | sort -r | head -n 2; s
t long pipe
seq 1 20000 | cat | cat | cat | cat | tail -n 1; s
t status of a pipe
false | true; s; true | false; s
t redirections
echo one >f1; echo two >>f1; cat <f1; wc -l <f1; cat f1 nosuch >f2 2>&1; cat f2; s
t descriptors
exec 5>f5; echo five >&5; echo more >&5; exec 5>&-; exec 6<f5; read -r x <&6; read -r y <&6; exec 6<&-; echo "$x $y"; s
t noclobber
set -C; echo again >f1; s; set +C; echo over >|f1; cat f1
t here-document
v=value; cat <<E1; cat <<'E2'; cat <<-E3
$v $((1 + 1)) `echo sub`
E1
$v not expanded
E2
	indented
	E3
s
t here-document of some length
seq 1 3000 >big; { echo 'cat <<END'; cat big; echo END; } >script; sh script | md5sum; s
t command substitution
x=$(printf 'a\n\n\n'); echo "[$x]"; echo "$(echo "$(echo nested)")"; s
t subshell
(a=5; cd /; echo "$a"; exit 3); s; echo "${a}"
t group
{ echo g1; echo g2; } | cat -n; s
t if, case, for, while, until
for i in a b c; do case $i in a) echo first;; [bc]) echo "other $i";; esac; done
i=0; while [ $i -lt 3 ]; do i=$((i + 1)); [ $i = 2 ] && continue; echo $i; done; until [ $i = 0 ]; do i=$((i - 1)); done; echo $i
if [ -n "$i" ] && [ ! -e nosuch ]; then echo yes; else echo no; fi; s
t functions
f() { local a=in; echo "$# $1 $a"; return 4; }; a=out; f x y; s; echo $a; fact() { [ "$1" -le 1 ] && echo 1 || echo $(($1 * $(fact $(($1 - 1))))); }; fact 12
t positional parameters
set -- one 'two words' three; echo $#; for x in "$@"; do echo "<$x>"; done; shift; echo "$1"; IFS=:; echo "$*"; unset IFS; s
t getopts
set -- -a -b val rest; while getopts ab: o; do echo "$o ${OPTARG-}"; done; shift $((OPTIND - 1)); echo "$1"; s
t test
[ 1 -lt 2 ]; s; [ abc = abd ]; s; [ -d . ]; s; [ -f . ]; s; test -z ''; s; [ 1 -eq 1 -a 2 -eq 2 ]; s; [ -s f1 ]; s; [ f1 -nt nosuch ]; s
t expr
expr 3 + 4 \* 2; expr abcdef : 'abc\(.*\)'; expr length hello; expr substr hello 2 3; expr 1 '>' 2; s
t globbing
mkdir globs; cd globs; touch a1 a2 b1 .hidden; echo a* ?1 [!a]* * nosuch*; cd ..; rm -r globs; s
t brace and quote oddities
echo 'single "double"' "double 'single'" \$HOME "a\"b" a\ b; s
t eval
cmd='echo "evaluated $((6 * 7))"'; eval "$cmd"; s
t trap and exit
sh -c 'trap "echo bye" EXIT; echo working; exit 9'; s
t signal to a shell
sh -c 'trap "echo got TERM" TERM; kill -TERM $$; echo after'; s; sh -c 'kill -KILL $$'; s; sh -c 'kill -SEGV $$' 2>/dev/null; s
t background and wait
sleep 0.05 & p=$!; wait $p; s; (exit 5) & wait $!; s; sleep 60 & kill $!; wait $!; s
t several children
for i in 1 2 3 4 5 6 7 8; do (exit $i) & eval "p$i=$!"; done; for i in 1 2 3 4 5 6 7 8; do eval "wait \$p$i"; s; done
t job control
set -m; sleep 0.05 & wait %1; s; set +m
t exit status of what is not there
nosuchcommand; s; ./nosuch; s; touch noexec; ./noexec; s; sh nosuchscript; s
t kill lists
kill -l 9; kill -l INT; kill -0 $$; s; kill -0 999999; s
t exec
(exec echo replaced; echo never); s; (exec nosuchcommand); s
t environment
FOO=bar env | grep '^FOO='; env -i A=1 B=2 env | sort; env -u FOO sh -c 'echo ${FOO-unset}'; s
t read
printf 'a b c\nline two\\\ncontinued\n' | { read -r x y; echo "$x|$y"; read z; echo "$z"; }; printf 'x:y:z\n' | { IFS=: read -r p q r; echo "$p $q $r"; }; s
t xargs
seq 1 10 | xargs -n 3 echo; printf 'a b\0c\0' | xargs -0 -n 1 echo; echo x y | xargs -I{} echo '[{}]'; s
t sed
printf 'one\ntwo\nthree\n' | sed -n '2p;$p'; printf 'abc\n' | sed 's/\(a\)\(b\)/\2\1/;y/c/z/'; seq 5 | sed '2,3d;4i\
before'; seq 3 | sed -e '1h;1d' -e '$G'; s
t sed in place
printf 'x=1\n' >conf; sed -i 's/1/2/' conf; cat conf; s
t awk
seq 1 10 | awk '{s += $1} END {print s, s / NR, NR}'; echo 'a:b:c' | awk -F: '{print $3 $1; print NF}'; awk 'BEGIN {for (i = 0; i < 3; i++) a[i] = i * i; for (i = 0; i < 3; i++) printf "%d ", a[i]; print length("hello"), substr("hello", 2, 3), index("abc", "c"), toupper("x")}'; s
t awk floating point
awk 'BEGIN {printf "%.6f %.3e %g\n", 22 / 7, 1 / 3, 0.1 + 0.2; print 1e300 * 1e10, int(-3.7), 1e-5, 100000 * 100000}'; s
t awk with files and pipes
awk 'BEGIN {while ((getline l < "f1") > 0) print "f1:", l; "echo piped" | getline x; print x; print "b\na" | "sort"; close("sort"); system("exit 3")}'; s
t grep
printf 'foo\nbar\nfoobar\nFOO\n' >g; grep foo g; grep -c foo g; grep -v foo g; grep -i foo g; grep -n bar g; grep -E '^(foo|bar)$' g; grep -q nosuch g; s; grep -o 'o*b' g; grep -x foo g; grep -F 'o.' g; s
t sort
printf '10 b\n9 a\n10 a\n' >u; sort u; sort -n u; sort -k2,2 -k1,1n u; sort -u -k1,1 u; sort -rn u; s
t uniq
printf 'a\na\nb\na\n' | uniq -c; printf 'a\na\nb\n' | uniq -d; s
t wc
wc big; wc -c <big; echo 'a b  c' | wc -w; s
t cut and paste
printf 'a:b:c\nd:e:f\n' | cut -d: -f2-; printf 'abcdef\n' | cut -c2-4; seq 3 >p1; seq 4 6 >p2; paste p1 p2; paste -sd, p1; s
t tr
echo 'Hello 123' | tr 'a-z' 'A-Z'; echo 'aabbcc' | tr -s a-c; echo 'a1b2' | tr -d 0-9; echo abc | tr -c 'a\n' x; s
t head and tail
seq 20 | head -n 3; seq 20 | tail -n 3; seq 20 | tail -n +18; head -c 5 big; seq 5 | head -n -2; s
t seq
seq 3; seq 2 2 8; seq -w 8 11; seq 3 -1 1; seq -s , 4; s
t tee
echo split | tee t1 t2; cat t1 t2; echo more | tee -a t1 >/dev/null; cat t1; s
t fold, nl, rev, expand
echo 'abcdefghij' | fold -w 4; printf 'x\ny\n' | nl; echo abc | rev; printf 'a\tb\n' | expand -t 4; printf '        x\n' | unexpand; tac p1; s
t od and hexdump
printf 'abc\n\000\377' | od -An -tx1; printf 'ABC' | hexdump -C; printf '\001\002\003\004' | od -An -tu2; printf 'hi' | xxd; s
t cmp and diff
cmp p1 p1; s; cmp p1 p2; s; diff p1 p2; s; diff -u p1 p1; s
t comm and join by awk
sort p1 >s1; seq 2 4 | sort >s2; awk 'NR == FNR {a[$1]; next} $1 in a' s1 s2; s
t cp
cp big big2; cmp big big2; s; mkdir -p d1/d2; echo deep >d1/d2/f; cp -r d1 d3; cat d3/d2/f; cp nosuch x; s; cp -p big big3; cmp big big3; s
t mv
mv big2 big4; ls big2 big4; mkdir d4; mv big4 d4; ls d4; mv d4 d5; ls d5; mv nosuch x; s
t ln
ln big hard; ln -s big soft; cat soft | md5sum; readlink soft; ls -L soft; stat -c '%h %F' hard soft; ln -s nowhere dangling; cat dangling; s; readlink -f soft | sed 's,.*/,,'
t rm and rmdir
rm hard; ls hard; s; rmdir d1; s; rm -r d1; ls -d d1; s; rm -f nosuch; s; rm nosuch; s; mkdir e; rmdir e; s
t mkdir
mkdir -p m/a/b/c; find m | sort; mkdir m; s; mkdir -m 700 secret; stat -c %a secret; s
t ls
mkdir l; cd l; touch b a c; mkdir sub; ln -s a link; ls; ls -1r; ls -F; ls -a; ls -p sub; cd ..; s
t stat and chmod
printf 12345 >st; chmod 640 st; stat -c '%a %s %F %n' st; chmod u+x,g-r,o=rw st; stat -c '%A' st; ls -l st | cut -c1-10; s
t touch and times
touch -d '2001-02-03 04:05:06' old; stat -c %Y old; stat -c %y old | cut -c1-19; touch -r old old2; stat -c %Y old2; find . -name 'old*' ! -newer old | sort; s
t umask
umask; (umask 077; touch priv; stat -c %a priv); umask 022; s
t find
mkdir -p fd/x/y; touch fd/1.c fd/x/2.c fd/x/y/3.h; find fd | sort; find fd -name '*.c' | sort; find fd -type d | sort; find fd -type f -exec echo found {} \; | sort; find fd -depth -mindepth 1 -maxdepth 1 | sort; s
t dd
dd if=/dev/zero of=z bs=1024 count=10 2>/dev/null; wc -c <z; dd if=big bs=1 skip=5 count=5 2>/dev/null; echo; printf 'XY' | dd of=z bs=1 seek=100 conv=notrunc 2>/dev/null; od -An -c -j 99 -N 4 z; s
t truncate and sparse files
truncate -s 1000000 sparse; wc -c <sparse; truncate -s 10 sparse; wc -c <sparse; printf x | dd of=sparse bs=1 seek=50000 2>/dev/null; md5sum sparse; s
t checksums
md5sum big; sha1sum big; sha256sum big; sha512sum big | cut -c1-32; cksum <big 2>/dev/null || crc32 big; md5sum big >sums; md5sum -c sums; s
t gzip
gzip -c big >big.gz; gunzip -c big.gz | cmp - big; s; cp big big5; gzip big5; ls big5*; gunzip big5.gz; cmp big big5; s; zcat big.gz | tail -n 1
t bzip2
bzip2 -c big | bunzip2 | cmp - big; s
t tar
tar cf a.tar fd; tar tf a.tar | sort; mkdir out; tar xf a.tar -C out; find out | sort; tar czf a.tgz fd; tar tzf a.tgz | wc -l; s
t cpio
find fd | sort | cpio -o -H newc 2>/dev/null >a.cpio; mkdir out2; (cd out2; cpio -id <../a.cpio 2>/dev/null); find out2 | sort; s
t base64 and uuencode
printf 'binary\000data' | base64; echo aGVsbG8K | base64 -d; uuencode x <f1 | uudecode -o -; s
t date
date -u -d @0; date -u -d @1700000000 '+%Y-%m-%d %H:%M:%S %j %a %b'; date -u -d '2000-02-29 12:00:00' +%s; s
t cal and factor
cal 2 2000; factor 1234567890 97; s
t bc and dc
echo '2^100; scale=10; 1/7' | bc; echo '3 4 + p' | dc; s
t basename and dirname
basename /a/b/c.txt .txt; dirname /a/b/c.txt; dirname plain; s
t pwd and cd
mkdir -p cdt/x; cd cdt/x; pwd | sed 's,.*/cdt,cdt,'; cd ..; cd - >/dev/null; pwd | sed 's,.*/cdt,cdt,'; cd ../..; (cd nosuch); s
t exit statuses above 255
sh -c 'echo $0 $1' name arg; sh -c 'exit 256'; s; sh -c 'exit 300'; s
t yes and SIGPIPE
yes | head -n 3; yes no | head -c 100000 | md5sum; s
t pipe into a closed reader
(seq 1 100000; echo "writer: $?" >pipestatus) 2>/dev/null | head -n 1; s
t timeout
timeout 1 sleep 0.01; s; timeout 0.1 sleep 60; s; timeout -s KILL 0.1 sleep 60; s
t time passes
a=$(date +%s%N 2>/dev/null | cut -c1-10); sleep 0.1; b=$(date +%s); [ "$b" -ge "$a" ]; s
t nested shells
sh -c 'sh -c "sh -c \"echo three deep; exit 6\""'; s
t set -e and set -u
sh -c 'set -e; false; echo never'; s; sh -c 'set -u; echo $undefined; echo never'; s
t shell options
set -f; echo *; set +f; sh -xc 'a=1; echo $a'; s
t alias and type
type cd | head -n 1; alias x='echo aliased'; alias x; unalias x; command -v echo; s
t fifo
mkfifo ff; (echo through the fifo >ff) & cat ff; wait; s; [ -p ff ]; s
t mktemp
f=$(mktemp ./tmp.XXXXXX); [ -f "$f" ]; s; echo ${#f}; rm "$f"
t split by head and patch
printf 'a\nb\nc\n' >o; printf 'a\nB\nc\n' >n; diff -u o n | sed '1,2s/\t.*//' >pp; cat pp; cp o o2; sed 's/^--- o/--- o2/;s/^+++ n/+++ o2/' pp | patch; cat o2; s
t ed
printf 'a\none\ntwo\n.\n1s/one/1/\nw ed1\nq\n' | ed 2>&1 | tail -n 1; cat ed1; s
t shuf and sort back
seq 100 | shuf | sort -n | md5sum; s
t many files
mkdir many; i=0; while [ $i -lt 300 ]; do : >many/file$i; i=$((i + 1)); done; ls many | wc -l; rm -r many; ls -d many; s
t a large file
dd if=/dev/zero bs=65536 count=64 2>/dev/null | tr '\000' 'x' >large; wc -c <large; md5sum large; rm large; s
t deep recursion of directories
p=deep; i=0; while [ $i -lt 30 ]; do p=$p/d; i=$((i + 1)); done; mkdir -p $p; echo bottom >$p/f; cat $p/f; find deep | wc -l; rm -r deep; s
t symbolic link loops
ln -s loop2 loop1; ln -s loop1 loop2; cat loop1; s; ls -d loop1/x; s
t what is not allowed
cat .; s; echo x >.; s; mkdir f1/x; s; rmdir f1; s; cd f1; s; ls f1/; s
t long names
n=$(printf '%0255d' 0); : >"$n"; s; ls | grep -c "^$n\$"; rm "$n"; (: >"${n}x") 2>&1 | sed 's/.*x: //'; s
t unlinked but open
echo kept >un; exec 7<un; rm un; cat <&7; exec 7<&-; s
t append by two writers
: >ap; (for i in 1 2 3; do echo a >>ap; done) & (for i in 1 2 3; do echo b >>ap; done) & wait; sort ap | uniq -c; s
t devices
echo x >/dev/null; s; head -c 4 /dev/zero | od -An -tx1; head -c 16 /dev/urandom | wc -c; echo x >/dev/full; s; : </dev/null; s
t /dev/fd and /proc/self
echo via >vf; cat /dev/fd/3 3<vf; readlink /proc/self/fd/3 3<vf | sed 's,.*/,,'; s
t a script with an interpreter line
printf '#!/bin/sh\necho "script $# $1"\nexit 8\n' >scr; chmod +x scr; ./scr arg; s
