-- A C file of as many functions as the argument says: declarations, expressions, loops,
-- switches, structures.

local count = tonumber(arg[1])
io.write("typedef struct pair { int key; struct pair *next; double weight; } pair;\n")
io.write("int f0(pair *p, int x) { return p ? p->key + x : x; }\n")
for n = 1, count do
  io.write(("static const int table%d[] = { %d, %d, %d, %d };\n"):format(n, n, n * 3, n * 7, n ~ 85))
  io.write(("int f%d(pair *list, int x)\n{\n"):format(n))
  io.write("\tint sum = 0;\n\tdouble weight = 0.5;\n")
  io.write("\tfor (pair *p = list; p && sum < 100000; p = p->next) {\n")
  io.write(("\t\tsum += p->key * %d + (x << %d) - table%d[sum & 3];\n"):format(n % 97 + 1, n % 13, n))
  io.write(("\t\tweight = weight * %d.25 + p->weight / (x + %d);\n"):format(n % 31, n % 7 + 1))
  io.write(("\t\tif (p->key > %d || weight < 0.125)\n\t\t\tbreak;\n\t}\n"):format(n * 11 % 1000))
  io.write("\tswitch (x % 5) {\n")
  for case = 0, 4 do
    io.write(("\tcase %d: sum = f%d(list, sum %% %d) ^ %d; break;\n"):format(case, n * (case + 3) // 7 % n, n + case + 2, case * n))
  end
  io.write("\t}\n\treturn x > 0 ? sum + (int)weight : ~sum;\n}\n\n")
end
