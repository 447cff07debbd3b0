/* Files in memory: memfd_create and seals, /dev/shm, truncation under mappings, holes. */
#include "abi.h"

#define SEAL_SEAL   1
#define SEAL_SHRINK 2
#define SEAL_GROW   4
#define SEAL_WRITE  8
#define SEAL_FUTURE 16
#define SEAL_EXEC   32
#define ADD_SEALS   1033
#define GET_SEALS   1034

#define CLOEXEC 1u
#define SEALING 2u
#define NOEXEC  8u
#define EXEC    16u

#define memfd(name, flags) (int)syscall(SYS_memfd_create, name, flags)
#define seal(fd, s)        fcntl(fd, ADD_SEALS, s)

static void create(void)
{
	char name[300];
	struct stat st;
	int fd;

	title("memfd_create");
	call("bad address", memfd((void *)8, 0));
	call("unknown flag", memfd("x", 0x20));
	call("both of EXEC and NOEXEC", memfd("x", EXEC | NOEXEC));
	call("no name", memfd("", EXEC));
	memset(name, 'n', sizeof(name));
	name[249] = 0;
	call("a name of 249", memfd(name, EXEC));
	name[249] = 'n';
	name[250] = 0;
	call("a name of 250", memfd(name, EXEC));
	fd = memfd("jiffy", CLOEXEC | EXEC);
	value("close on exec", fcntl(fd, F_GETFD));
	value("open for", fcntl(fd, F_GETFL) & O_ACCMODE);
	fstat(fd, &st);
	value("mode", st.st_mode & 07777);
	value("links", (long)st.st_nlink);
	value("size", st.st_size);
	value("seals without sealing", fcntl(fd, GET_SEALS));
	call("none can be added", seal(fd, SEAL_GROW));
	call("not even none", seal(fd, 0));
	fd = memfd("jiffy", NOEXEC);
	fstat(fd, &st);
	value("NOEXEC: mode", st.st_mode & 07777);
	value("NOEXEC: seals", fcntl(fd, GET_SEALS));
	call("NOEXEC: chmod to executable", fchmod(fd, 0777));
	call("NOEXEC: other modes", fchmod(fd, 0600));
	value("sealing allowed", fcntl(memfd("x", SEALING | EXEC), GET_SEALS));
	call("seals of a pipe", fcntl(0, GET_SEALS) == -1 ? 0 : -1);
	call("seals of a bad descriptor", fcntl(999, GET_SEALS));
}

static int sealed(int size, int seals)
{
	int fd = memfd("sealed", SEALING | EXEC);

	if (ftruncate(fd, size))
		exit(4);
	call("sealing", seal(fd, seals));
	return fd;
}

static void sizes(void)
{
	char buf[PAGE] = "";
	int fd;

	title("seals: size");
	fd = sealed(2 * PAGE, SEAL_SHRINK);
	call("SHRINK: smaller", ftruncate(fd, PAGE));
	call("SHRINK: the same", ftruncate(fd, 2 * PAGE));
	call("SHRINK: larger", ftruncate(fd, 3 * PAGE));
	call("SHRINK: to 0", ftruncate(fd, 0));
	call("SHRINK: a hole", fallocate(fd, 3, 0, PAGE));
	fd = sealed(2 * PAGE, SEAL_GROW);
	call("GROW: larger", ftruncate(fd, 3 * PAGE));
	call("GROW: smaller", ftruncate(fd, PAGE));
	call("GROW: write inside", pwrite(fd, buf, 10, 0));
	call("GROW: write behind", pwrite(fd, buf, 10, 2 * PAGE));
	value("GROW: write over the end", pwrite(fd, buf, PAGE, PAGE / 2));
	value("GROW: write from one page over the end", pwrite(fd, buf, 10, PAGE - 5));
	call("GROW: fallocate", fallocate(fd, 0, 0, 3 * PAGE));
	call("GROW: fallocate inside", fallocate(fd, 0, 0, PAGE));
	fd = sealed(2 * PAGE, SEAL_GROW | SEAL_SHRINK);
	value("both", fcntl(fd, GET_SEALS));
	call("adding WRITE", seal(fd, SEAL_WRITE));
	value("three", fcntl(fd, GET_SEALS));
	call("an unknown one", seal(fd, 64));
	call("the last", seal(fd, SEAL_SEAL));
	call("one more", seal(fd, SEAL_FUTURE));
	call("one that is there", seal(fd, SEAL_GROW));
	value("all", fcntl(fd, GET_SEALS));
	fd = sealed(PAGE, SEAL_EXEC);
	value("EXEC of an executable one brings", fcntl(fd, GET_SEALS));
}

static void writes(void)
{
	char buf[16] = "", *p, path[64];
	int fd, rd;

	title("seals: writing");
	fd = memfd("sealed", SEALING | EXEC);
	call("size", ftruncate(fd, 2 * PAGE));
	p = map(NULL, PAGE, RW, MAP_SHARED, fd, 0);
	call("WRITE while mapped for writing", seal(fd, SEAL_WRITE));
	protect(p, PAGE, PROT_READ);
	call("WRITE while mapped for reading, of a writable file", seal(fd, SEAL_WRITE));
	call("FUTURE_WRITE while mapped", seal(fd, SEAL_FUTURE));
	call("the old mapping may be written", protect(p, PAGE, RW));
	p[0] = 'o';
	call("write", pwrite(fd, buf, 1, 0));
	call("mmap for writing", (long)map(NULL, PAGE, RW, MAP_SHARED, fd, 0));
	call("mmap for reading", (long)map(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
	call("private mmap for writing", (long)map(NULL, PAGE, RW, MAP_PRIVATE, fd, 0));
	call("a hole", fallocate(fd, 3, 0, PAGE));
	value("is it there?", p[0]);
	unmap(p, PAGE);
	fd = memfd("sealed", SEALING | EXEC);
	call("size", ftruncate(fd, 2 * PAGE));
	p = map(NULL, PAGE, RW, MAP_PRIVATE, fd, 0);
	call("WRITE while mapped privately", seal(fd, SEAL_WRITE));
	text("the private mapping", try_write(p));
	call("write", pwrite(fd, buf, 1, 0));
	call("write nothing", pwrite(fd, buf, 0, 0));
	call("truncation", ftruncate(fd, PAGE));
	p = map(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED)
		call("mprotect of a shared mapping", protect(p, PAGE, RW));
	call("MADV_REMOVE of it", advise(p, PAGE, MADV_REMOVE));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rd = open(path, O_RDONLY);
	call("seals through a read-only descriptor", seal(rd, SEAL_GROW));
	call("an unknown one through it", seal(rd, 256));
	value("reading them", fcntl(rd, GET_SEALS));
}

static void truncation(int fd)
{
	char *s, *p, byte = 0;

	if (ftruncate(fd, 4 * PAGE))
		exit(4);
	s = map(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
	p = map(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0);
	memset(s, 'A', 4 * PAGE);
	p[2 * PAGE] = 'P';
	p[0] = 'Q';
	value("private, not written", p[PAGE]);
	call("cut in the second page", ftruncate(fd, PAGE + 100));
	value("before the cut", s[PAGE + 99]);
	value("behind it in the same page", s[PAGE + 100]);
	text("shared, the next page", try_read(s + 2 * PAGE));
	text("the last page, writing", try_write(s + 3 * PAGE));
	text("private, not written", try_read(p + 3 * PAGE));
	text("private, written", try_read(p + 2 * PAGE));
	value("private, before the cut", p[0]);
	s[PAGE + 200] = 'x';
	call("larger again", ftruncate(fd, 4 * PAGE));
	value("the cut pages are zero", byte_at(s + 2 * PAGE));
	value("in the private mapping, too", byte_at(p + 2 * PAGE));
	value("what was written behind the end", s[PAGE + 200] == 'x' || s[PAGE + 200] == 0);
	s[2 * PAGE] = 'N';
	value("read() sees new pages", pread(fd, &byte, 1, 2 * PAGE) == 1 ? byte : -1);
	call("cut to nothing", ftruncate(fd, 0));
	text("the first page", try_read(s));
	value("read()", pread(fd, &byte, 1, 0));
	value("write() makes it larger", pwrite(fd, "W", 1, PAGE));
	value("the first page is back", byte_at(s));
	value("the second, too", byte_at(s + PAGE));
	text("the third is not", try_read(s + 2 * PAGE));
	unmap(s, 4 * PAGE);
	unmap(p, 4 * PAGE);
}

static int child_looks(void *arg)
{
	char *s = arg;

	text("a child's mapping", try_read(s + PAGE));
	value("a child's first page", byte_at(s));
	return 0;
}

static void holes(void)
{
	int fd = memfd("holes", EXEC);
	char *s, *p;
	struct stat st;

	title("holes under mappings");
	call("size", ftruncate(fd, 4 * PAGE));
	s = map(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
	p = map(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0);
	memset(s, 'H', 4 * PAGE);
	p[PAGE] = 'c';
	value("seen", p[2 * PAGE]);
	fstat(fd, &st);
	value("blocks", st.st_blocks);
	call("a hole of two pages and a half", fallocate(fd, 3, PAGE / 2, 2 * PAGE + PAGE / 2));
	value("before it", s[PAGE / 2 - 1]);
	value("its start", s[PAGE / 2]);
	value("its middle", s[PAGE]);
	value("its end", s[3 * PAGE - 1]);
	value("behind it", s[3 * PAGE]);
	value("a private copy stays", p[PAGE]);
	value("a private page that was none does not", p[2 * PAGE]);
	unmap(p, 4 * PAGE);
	unmap(s, 4 * PAGE);
	fd = memfd("holes", EXEC);
	call("size", ftruncate(fd, 4 * PAGE));
	s = map(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
	memset(s, 'R', 4 * PAGE);
	call("MADV_REMOVE", advise(s + PAGE, PAGE, MADV_REMOVE));
	value("it", s[PAGE]);
	value("behind it", s[2 * PAGE]);
	fstat(fd, &st);
	value("the size stays", st.st_size);
	call("cut", ftruncate(fd, PAGE));
	in_child(child_looks, s);
	unmap(s, 4 * PAGE);
}

static void shm(void)
{
	int fd = open("/dev/shm/jiffy-abi", O_RDWR | O_CREAT | O_EXCL, 0600);
	char *a, *b;

	title("/dev/shm");
	call("open", fd);
	call("again",
	     open("/dev/shm/jiffy-abi", O_RDWR | O_CREAT | O_EXCL, 0600) == -1 && errno == EEXIST ?
		     0 :
		     -1);
	call("size", ftruncate(fd, 2 * PAGE));
	a = map(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);
	b = map(NULL, 2 * PAGE, RW, MAP_SHARED, open("/dev/shm/jiffy-abi", O_RDWR), 0);
	a[PAGE] = 's';
	value("shared", b[PAGE]);
	value("seals", fcntl(fd, GET_SEALS));
	call("sealing", seal(fd, SEAL_GROW));
	call("unlink", unlink("/dev/shm/jiffy-abi"));
	a[0] = 't';
	value("still shared", b[0]);
	truncation(fd);
}

int main(void)
{
	create();
	sizes();
	writes();
	title("truncation under mappings");
	truncation(memfd("cut", EXEC));
	holes();
	shm();
	return 0;
}
