# The guest that decides whether KVM is used: a boot sector that goes from real mode through protected mode
# to long mode, doing in each what every firmware and kernel does, and leaves by QEMU's isa-debug-exit with
# status 85. Some hosts accept a virtual machine and then cannot run such code ("emulation failure").
#
#   as --64 -o probe.o kvm-probe.S && objcopy -O binary probe.o probe.img

        .set    EXIT_PORT, 0xf4         # as kvm-works gives it to isa-debug-exit
        .set    EXIT_VALUE, 42          # QEMU ends with 2 * 42 + 1 = 85
        .set    PML4, 0x1000
        .set    PDPT, 0x2000
        .set    PD, 0x3000
        .set    LOAD, 0x7c00            # where the BIOS puts a boot sector

        .code16
real_mode:
        cli
        ljmp    $0, $(LOAD + 1f - real_mode)
1:      xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $LOAD, %sp
        movw    $LOAD, %si              # a copy through segments, as real-mode setup code does
        movw    $0x8000, %di
        movw    $256, %cx
        cld
        rep movsw
        movw    $PML4, %di              # clear the three page tables
        movw    $(3 * 4096 / 4), %cx
        xorl    %eax, %eax
        rep stosl
        lgdtl   LOAD + gdt_pointer - real_mode
        movl    %cr0, %eax
        orb     $1, %al                 # PE
        movl    %eax, %cr0
        ljmpl   $0x08, $(LOAD + protected_mode - real_mode)

        .code32
protected_mode:
        movw    $0x10, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $(PDPT | 3), PML4
        movl    $(PD | 3), PDPT
        movl    $0x83, PD               # the first 2 MiB, one large page
        movl    %cr4, %eax
        orl     $0x620, %eax            # PAE, OSFXSR, OSXMMEXCPT
        movl    %eax, %cr4
        movl    $PML4, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx       # EFER
        rdmsr
        orl     $0x100, %eax            # LME
        wrmsr
        movl    %cr0, %eax
        andl    $~4, %eax               # EM off: SSE on
        orl     $0x80000002, %eax       # PG, MP
        movl    %eax, %cr0
        ljmp    $0x18, $(LOAD + long_mode - real_mode)

        .code64
long_mode:
        xorl    %eax, %eax
        cpuid
        rdtsc
        movups  LOAD(%rip), %xmm0       # any 16 bytes will do
        pxor    %xmm0, %xmm0
        movups  %xmm0, 0x9000
        movl    $7, %ecx
1:      lock incq 0x9000
        loop    1b
        cmpq    $7, 0x9000
        jne     hang
        movb    $EXIT_VALUE, %al
        outb    %al, $EXIT_PORT
hang:   hlt
        jmp     hang

        .balign 8
gdt:    .quad   0
        .quad   0x00cf9a000000ffff      # 0x08: 32-bit code
        .quad   0x00cf92000000ffff      # 0x10: data
        .quad   0x00af9a000000ffff      # 0x18: 64-bit code
gdt_pointer:
        .word   . - gdt - 1
        .long   LOAD + gdt - real_mode

        .org    510
        .word   0xaa55
