/* A kernel module as FreeBSD's: a relocatable object with something in it to find. */
const char module_text[] = "tests' module";
int module_zeros[1024];

int module_answer(void)
{
	return 42 + module_zeros[7];
}
