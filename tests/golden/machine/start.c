// Runs one static Linux program without an operating system: loads it from the image, answers the few
// system calls that it makes, sends what it writes to the serial port, and ends the emulator.
//
// Booting Linux instead takes Bochs minutes, and its model of XSAVE does not satisfy the kernel.
#include <elf.h>
#include <stdint.h>

static const char* const PROGRAM = (const char*)0xffe04000;
static uint64_t heap_end = 0x8000000, free_memory = 0x10000000;

static void out(uint16_t port, uint8_t byte) {
  __asm__ volatile("outb %0, %1" : : "a"(byte), "Nd"(port));
}
static uint8_t in(uint16_t port) {
  uint8_t byte;
  __asm__ volatile("inb %1, %0" : "=a"(byte) : "Nd"(port));
  return byte;
}
static void set_register(uint32_t number, uint64_t value) {
  __asm__ volatile("wrmsr" : : "c"(number), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static void say(const char* text, uint64_t size) {
  for (; size--; out(0x3f8, *text++))
    while (!(in(0x3fd) & 0x20)) {
    }
}
static void say_number(uint64_t number) {
  for (int shift = 60; shift >= 0; shift -= 4) say(&"0123456789abcdef"[number >> shift & 15], 1);
  say("\n", 1);
}
static _Noreturn void end(void) {
  while (!(in(0x3fd) & 0x40)) {
  }
  for (const char* word = "Shutdown"; *word; word++) out(0x8900, *word);
  for (;;) __asm__ volatile("cli; hlt");
}

long answer(long call, uint64_t a, uint64_t b, uint64_t c) {
  switch (call) {
    case 1:  // write
      say((const char*)b, c);
      return c;
    case 9:  // mmap
      free_memory += (b + 0xfff) & ~0xfffull;
      return free_memory - ((b + 0xfff) & ~0xfffull);
    case 12:  // brk
      return heap_end = a > heap_end ? a : heap_end;
    case 158:  // arch_prctl: the address of the thread's own variables
      if (a != 0x1002) return -22;
      set_register(0xc0000100, b);
      return 0;
    case 10: case 11: case 13: case 14: case 202:  // mprotect, munmap, signals, futex
      return 0;
    case 39: case 186: case 218:  // getpid, gettid, set_tid_address
      return 1;
    case 318:  // getrandom
      return b;
    case 60: case 231:  // exit
      say("exit ", 5);
      say_number(a);
      end();
  }
  return -38;  // not implemented
}
_Noreturn void report(uint64_t exception, uint64_t address) {
  say("exception ", 10);
  say_number(exception);
  say("address ", 8);
  say_number(address);
  end();
}

// `called` is where the instruction `syscall` leads, on the stack of the program, below its red zone.
// Each of the 32 handlers takes 16 bytes; a zero stands for the code that some exceptions lack.
__asm__(
    "called: leaq -128(%rsp), %rsp\n"
    "  pushq %rcx; pushq %r11; pushq %rdi; pushq %rsi; pushq %rdx; pushq %r8; pushq %r9; pushq %r10\n"
    "  movq %rdx, %rcx; movq %rsi, %rdx; movq %rdi, %rsi; movq %rax, %rdi\n"
    "  pushq %rbp; movq %rsp, %rbp; andq $-16, %rsp\n"
    "  call answer\n"
    "  movq %rbp, %rsp; popq %rbp\n"
    "  popq %r10; popq %r9; popq %r8; popq %rdx; popq %rsi; popq %rdi\n"
    "  popfq; popq %rcx\n"
    "  leaq 128(%rsp), %rsp\n"
    "  jmp *%rcx\n"
    ".balign 16\nhandlers: .set i, 0\n"
    ".rept 32\n.balign 16\n"
    ".if (0x60227d00 >> i) & 1 == 0\n pushq $0\n.endif\n"
    " pushq $i\n jmp failed\n.set i, i + 1\n.endr\n"
    "failed: movq (%rsp), %rdi; movq 16(%rsp), %rsi; andq $-16, %rsp; call report\n");
extern char called[], handlers[];

static struct {
  uint16_t low, segment, kind, middle;
  uint32_t high, unused;
} gates[32];
static struct __attribute__((packed)) {
  uint16_t limit;
  uint64_t address;
} gate_table = {sizeof gates - 1, (uint64_t)gates};

static void prepare_processor(void) {
  out(0x3fb, 0x80), out(0x3f8, 1), out(0x3f9, 0), out(0x3fb, 3), out(0x3fa, 7);  // the serial port
  for (int i = 0; i < 32; i++) {
    const uint64_t address = (uint64_t)handlers + 16 * i;
    gates[i].low = address, gates[i].middle = address >> 16, gates[i].high = address >> 32;
    gates[i].segment = 16, gates[i].kind = 0x8e00;
  }
  __asm__ volatile("lidt %0" : : "m"(gate_table));
  set_register(0xc0000081, 16ull << 32);  // the segments of `syscall`
  set_register(0xc0000082, (uint64_t)called);
  set_register(0xc0000084, 0);
}

__attribute__((section(".first"))) _Noreturn void start(void) {
  prepare_processor();
  const Elf64_Ehdr* file = (const Elf64_Ehdr*)PROGRAM;
  const Elf64_Phdr* part = (const Elf64_Phdr*)(PROGRAM + file->e_phoff);
  uint64_t headers = 0;
  for (int i = 0; i < file->e_phnum; i++, part++) {
    if (part->p_type != PT_LOAD) continue;
    volatile char* to = (volatile char*)part->p_vaddr;
    for (uint64_t j = 0; j < part->p_memsz; j++)
      to[j] = j < part->p_filesz ? PROGRAM[part->p_offset + j] : 0;
    if (!part->p_offset) headers = part->p_vaddr + file->e_phoff;
  }
  uint64_t* stack = (uint64_t*)0x3e00000;
  const uint64_t words[] = {1,         (uint64_t) "program", 0, 0,  // arguments, environment
                            AT_PHDR,   headers,
                            AT_PHENT,  sizeof *part,
                            AT_PHNUM,  file->e_phnum,
                            AT_PAGESZ, 4096,
                            AT_ENTRY,  file->e_entry,
                            AT_RANDOM, (uint64_t)start,
                            AT_NULL,   0};
  for (unsigned i = 0; i < sizeof words / sizeof *words; i++) stack[i] = words[i];
  __asm__ volatile("movq %0, %%rsp; xorl %%edx, %%edx; xorl %%ebp, %%ebp; jmp *%1"
                   : : "a"(stack), "c"(file->e_entry));
  __builtin_unreachable();
}
