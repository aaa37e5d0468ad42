"""Client drivers that are not ours: any program over standard input and output, spoken to, watched and translated."""
