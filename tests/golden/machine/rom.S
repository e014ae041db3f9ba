# The last 64 KiB of the image, where the processor starts: from real mode to long mode, with every
# vector register on, then to start.c, which is copied from the image's beginning to 1 MiB.
.code16
.text
reset:
  cli
  data32 lgdt %cs:(table_address - reset)
  movl %cr0, %eax
  orl $1, %eax
  movl %eax, %cr0
  ljmpl $8, $protected

.balign 8
table:
  .quad 0
  .quad 0x00cf9a000000ffff  # 8: code of 32 bits
  .quad 0x00af9a000000ffff  # 16: code of 64 bits, which `syscall` loads, too
  .quad 0x00cf92000000ffff  # 24: data
table_address:
  .word . - table - 1
  .long table

.code32
protected:
  movw $24, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movl $0xffe00000, %esi
  movl $0x100000, %edi
  movl $0x4000, %ecx
  cld
  rep movsb
  # Pages of 1 GiB, each at its own address.
  movl $0x2003, 0x1000
  movl $0x00000083, 0x2000
  movl $0x40000083, 0x2008
  movl $0x80000083, 0x2010
  movl $0xc0000083, 0x2018
  movl $0x1000, %eax
  movl %eax, %cr3
  movl $0x40620, %eax  # PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
  movl %eax, %cr4
  movl $0xc0000080, %ecx
  movl $0x101, %eax  # SCE, LME
  xorl %edx, %edx
  wrmsr
  movl $0x80000033, %eax  # PG, NE, ET, MP, PE
  movl %eax, %cr0
  ljmpl $16, $long

.code64
long:
  movl $0xd, %eax  # of what XCR0 may hold: x87, SSE, AVX and AVX-512
  xorl %ecx, %ecx
  cpuid
  andl $0xe7, %eax
  xorl %ecx, %ecx
  xorl %edx, %edx
  xsetbv
  movl $0x3f00000, %esp
  movl $0x100000, %eax
  jmp *%rax

.org 0xfff0
.code16
  jmp reset
.org 0x10000, 0
