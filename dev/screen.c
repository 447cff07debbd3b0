/*
 * The screen. The emulator (dev/ansi.c) keeps what should be shown in `cells`, the hardware shows
 * what `shown` remembers, and after each write the cells that differ are drawn: so scrolling costs
 * what has changed, and video memory, which is slow, is never read.
 *
 * Two kinds of hardware: VGA text, whose cells are the emulator's; and a linear framebuffer, drawn
 * with our font, its cursor a cell with its colours exchanged.
 *
 * Where it comes from: the boot loader's framebuffer tag, else a VGA display adapter on PCI bus 0
 * whose registers say that it is in text mode (QEMU's firmware leaves it so for -kernel). The
 * adapter alone proves nothing, nor does memory at b8000, which is plain RAM on a machine without
 * VGA.
 *
 * `lock` protects everything; see dev/devlock.h for panics. An NMI that hits a write in progress
 * shows nothing here.
 */
#include "dev/screen.h"

#include "arch/api/boot.h"
#include "arch/api/io.h"
#include "dev/ansi.h"
#include "dev/devlock.h"
#include "dev/font.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "mm/kmap.h"
#include "mm/slab.h"

#define EGA_TEXT   0xff /* boot_framebuffer.bpp */
#define VGA_MEMORY 0xb8000
#define NO_CURSOR  UINT32_MAX

static struct devlock lock;
static struct ansi ansi;             /* [lock] */
static ansi_cell_t *shown;           /* [lock] */
static u32 shown_cursor;             /* [lock] index of its cell, or NO_CURSOR */
static u32 nr_cells;                 /* [I] */
static volatile u16 *vga;            /* [I] text memory, or NULL */
static u8 *framebuffer;              /* [I] or NULL */
static struct boot_framebuffer mode; /* [I] */
static u32 palette[16];              /* [I] VGA's colours as pixels */

/* ---- VGA text ------------------------------------------------------------------------------- */

#define CRTC_INDEX     0x3d4
#define CRTC_DATA      0x3d5
#define GRAPHICS_INDEX 0x3ce
#define GRAPHICS_DATA  0x3cf
#define ATTRIBUTE_PORT 0x3c0 /* index and data in turn; reading 3da resets the turn */
#define ATTRIBUTE_READ 0x3c1
#define INPUT_STATUS   0x3da

static u8 crtc_read(u8 index)
{
	outb(CRTC_INDEX, index);
	return inb(CRTC_DATA);
}

static void crtc_write(u8 index, u8 v)
{
	outb(CRTC_INDEX, index);
	outb(CRTC_DATA, v);
}

/* Is there a PCI display adapter of class VGA? Configuration mechanism 1 (PCI 3.0, 3.2.2.3.2). */
static bool vga_adapter_present(void)
{
	outl(0xcf8, 0x80000000);
	if (inl(0xcf8) != 0x80000000)
		return false;
	for (u32 slot = 0; slot < 32; slot++) {
		outl(0xcf8, 0x80000000 | slot << 11 | 8);
		if (inl(0xcfc) >> 16 == 0x0300)
			return true;
	}
	return false;
}

/* Alphanumeric mode with its memory at b8000: graphics register 6, bit 0 and bits 2-3. */
static bool vga_in_text_mode(void)
{
	u8 misc;

	outb(GRAPHICS_INDEX, 6);
	misc = inb(GRAPHICS_DATA);
	return misc != 0xff && !(misc & 1) && (misc & 0x0c) == 0x0c;
}

/* The size of the text mode, from the CRT controller. */
static void vga_size(u32 *columns, u32 *rows)
{
	u8 overflow = crtc_read(0x07);
	u32 lines = crtc_read(0x12) | (u32)(overflow & 0x02) << 7 | (u32)(overflow & 0x40) << 3;
	u32 height = (crtc_read(0x09) & 0x1fu) + 1;

	*columns = crtc_read(0x01) + 1u;
	*rows = (lines + 1) / height;
}

/* The attribute's bit 15 means a bright background, not blinking: attribute register 10h, bit 3. */
static void vga_no_blinking(void)
{
	u8 v;

	inb(INPUT_STATUS);
	outb(ATTRIBUTE_PORT, 0x30); /* bit 5 keeps the screen on */
	v = inb(ATTRIBUTE_READ);
	outb(ATTRIBUTE_PORT, v & (u8)~0x08);
	inb(INPUT_STATUS);
}

static void vga_cursor(u32 index)
{
	if (index == NO_CURSOR) {
		crtc_write(0x0a, 0x20);
		return;
	}
	if (shown_cursor == NO_CURSOR) {
		crtc_write(0x0a, 13);
		crtc_write(0x0b, 14);
	}
	crtc_write(0x0e, (u8)(index >> 8));
	crtc_write(0x0f, (u8)index);
}

/* ---- framebuffer ---------------------------------------------------------------------------- */

static u32 pixel_part(u32 v, u8 shift, u8 size)
{
	return (v >> (8 - MIN(size, (u8)8))) << shift;
}

static void palette_init(void)
{
	for (u32 i = 0; i < 16; i++) {
		u32 low = i & 8 ? 0x55 : 0, high = i & 8 ? 0xff : 0xaa;
		u32 red = i & 4 ? high : low, blue = i & 1 ? high : low;
		u32 green = i & 2 ? high : low;

		if (i == 6)
			green = 0x55; /* brown, as on every PC: dark yellow looks dirty */
		palette[i] = pixel_part(red, mode.red_shift, mode.red_size) |
			     pixel_part(green, mode.green_shift, mode.green_size) |
			     pixel_part(blue, mode.blue_shift, mode.blue_size);
	}
}

static void row_draw(u8 *at, u8 bits, u32 fg, u32 bg)
{
	u32 bytes = mode.bpp / 8;

	if (bytes == 4) {
		for (u32 x = 0; x < FONT_WIDTH; x++)
			((volatile u32 *)at)[x] = bits << x & 0x80 ? fg : bg;
		return;
	}
	for (u32 x = 0; x < FONT_WIDTH; x++) {
		u32 pixel = bits << x & 0x80 ? fg : bg;

		for (u32 i = 0; i < bytes; i++)
			*(volatile u8 *)at++ = (u8)(pixel >> 8 * i);
	}
}

static void cell_draw(u32 index, ansi_cell_t cell, bool inverse)
{
	const u8 *glyph = font_glyph((u8)cell);
	u32 fg = palette[cell >> 8 & 15], bg = palette[cell >> 12];
	u32 column = index % ansi.columns, row = index / ansi.columns;
	u8 *at = framebuffer + (u64)row * FONT_HEIGHT * mode.pitch +
		 (u64)column * FONT_WIDTH * (mode.bpp / 8);

	for (u32 y = 0; y < FONT_HEIGHT; y++, at += mode.pitch)
		row_draw(at, glyph[y], inverse ? bg : fg, inverse ? fg : bg);
}

/* ---- both ----------------------------------------------------------------------------------- */

static void cell_show(u32 index)
{
	shown[index] = ansi.cells[index];
	if (vga)
		vga[index] = shown[index];
	else
		cell_draw(index, shown[index], false);
}

static void cursor_show(void)
{
	u32 index = ansi.cursor_hidden ? NO_CURSOR :
					 (u32)ansi.cursor.row * ansi.columns + ansi.cursor.column;

	if (vga) {
		if (index != shown_cursor)
			vga_cursor(index);
	} else {
		if (shown_cursor != NO_CURSOR && shown_cursor != index)
			cell_draw(shown_cursor, shown[shown_cursor], false);
		if (index != NO_CURSOR)
			cell_draw(index, shown[index], true);
	}
	shown_cursor = index;
}

static bool words_differ(u32 i)
{
	u64 a, b;

	memcpy(&a, ansi.cells + i, sizeof(a));
	memcpy(&b, shown + i, sizeof(b));
	return a != b;
}

/* Four cells at a time: most have not changed. */
static void changes_show(void)
{
	u32 i = 0;

	while (i < nr_cells) {
		u32 end = MIN(i + 4, nr_cells);

		if (end - i == 4 && !words_differ(i)) {
			i = end;
			continue;
		}
		for (; i < end; i++) {
			if (shown[i] != ansi.cells[i])
				cell_show(i);
		}
	}
	cursor_show();
}

static bool screen_lock(u64 *flags, bool *taken)
{
	*taken = devlock_acquire(&lock, flags);
	if (*taken || panic_in_progress())
		return true;
	devlock_release(&lock, false, *flags);
	return false;
}

void screen_write(const char *s, size_t n)
{
	bool taken;
	u64 flags;

	if (nr_cells == 0 || !screen_lock(&flags, &taken))
		return;
	ansi_write(&ansi, s, n);
	changes_show();
	devlock_release(&lock, taken, flags);
}

size_t screen_take_reply(char *buf, size_t n)
{
	bool taken;
	u64 flags;

	if (READ_ONCE(ansi.reply_len) == 0 || !screen_lock(&flags, &taken))
		return 0;
	n = MIN(n, (size_t)ansi.reply_len);
	memcpy(buf, ansi.reply, n);
	ansi.reply_len = 0;
	devlock_release(&lock, taken, flags);
	return n;
}

/*
 * Log lines come in the middle of whatever a program writes: they begin a new line, in the default
 * colours, and leave the program's colours and half-read sequence as they were.
 */
void screen_log(const char *s, size_t n)
{
	struct ansi_cursor pen;
	enum ansi_state state;
	bool taken;
	u64 flags;

	if (nr_cells == 0 || !screen_lock(&flags, &taken))
		return;
	pen = ansi.cursor;
	state = ansi.state;
	ansi.state = ANSI_TEXT;
	ansi_write(&ansi, "\033[m\r\n", ansi.cursor.column > 0 ? 5 : 3);
	while (n > 0) {
		const char *end = memchr(s, '\n', n);
		size_t line = end ? (size_t)(end - s) : n;

		ansi_write(&ansi, s, line);
		if (end) {
			ansi_write(&ansi, "\r\n", 2);
			line++;
		}
		s += line;
		n -= line;
	}
	pen.column = ansi.cursor.column;
	pen.row = ansi.cursor.row;
	ansi.cursor = pen;
	ansi.state = state;
	changes_show();
	devlock_release(&lock, taken, flags);
}

void screen_size(u32 *columns, u32 *rows)
{
	*columns = ansi.columns;
	*rows = ansi.rows;
}

/* ---- finding it ----------------------------------------------------------------------------- */

static bool vga_find(u64 base, u32 columns, u32 rows)
{
	if (columns < 20 || columns > ANSI_COLUMNS_MAX || rows < 10 || rows > ANSI_ROWS_MAX)
		return false;
	vga = mmio_map(PADDR(base), columns * rows * sizeof(u16), KMAP_WRITE | KMAP_UNCACHED);
	if (!vga)
		return false;
	mode.width = columns;
	mode.height = rows;
	vga_no_blinking();
	crtc_write(0x0c, 0); /* shows from the start of its memory */
	crtc_write(0x0d, 0);
	return true;
}

static bool framebuffer_find(void)
{
	mode = boot_info.fb;
	if ((mode.bpp != 16 && mode.bpp != 24 && mode.bpp != 32) || mode.width < 20 * FONT_WIDTH ||
	    mode.height < 10 * FONT_HEIGHT || mode.pitch < mode.width * (mode.bpp / 8u))
		return false;
	if (mode.red_size == 0 && mode.green_size == 0) { /* untold: the usual order */
		mode.red_shift = 16;
		mode.green_shift = 8;
		mode.blue_shift = 0;
		mode.red_size = mode.green_size = mode.blue_size = 8;
	}
	framebuffer =
		mmio_map(PADDR(mode.base), (u64)mode.pitch * mode.height, KMAP_WRITE | KMAP_WC);
	if (!framebuffer)
		return false;
	palette_init();
	font_init();
	return true;
}

static bool hardware_find(void)
{
	u32 columns, rows;

	if (boot_info.fb.base != 0 && boot_info.fb.bpp == EGA_TEXT)
		return vga_find(boot_info.fb.base, boot_info.fb.width, boot_info.fb.height);
	if (boot_info.fb.base != 0)
		return framebuffer_find();
	if (!vga_adapter_present() || !vga_in_text_mode())
		return false;
	vga_size(&columns, &rows);
	return vga_find(VGA_MEMORY, columns, rows);
}

bool screen_init(void)
{
	ansi_cell_t *cells;
	u32 columns, rows, n;

	if (!hardware_find())
		return false;
	columns = vga ? mode.width : MIN(mode.width / FONT_WIDTH, (u32)ANSI_COLUMNS_MAX);
	rows = vga ? mode.height : MIN(mode.height / FONT_HEIGHT, (u32)ANSI_ROWS_MAX);
	n = columns * rows;
	cells = kmalloc(n * sizeof(*cells));
	shown = kmalloc(n * sizeof(*shown));
	if (!cells || !shown) {
		kfree(cells);
		kfree(shown);
		return false;
	}
	ansi_init(&ansi, cells, columns, rows);
	memset(shown, 0xff, n * sizeof(*shown)); /* differs from every cell: all are drawn */
	shown_cursor = NO_CURSOR;
	store_release(&nr_cells, n);
	screen_write("", 0);
	if (vga)
		log_info("screen: VGA text, %ux%u\n", columns, rows);
	else
		log_info("screen: %ux%u pixels of %u bits, %ux%u characters\n", mode.width,
			 mode.height, mode.bpp, columns, rows);
	return true;
}
