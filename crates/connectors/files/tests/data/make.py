# Makes the files of this folder with the libraries of other houses: fastavro 1.12, pyarrow 22, openpyxl 3.1 (PyPI), and
# backports.zstd. `python make.py FOLDER`. Avro files are the same for the same versions, the others hold times.
import sys, datetime as d, decimal, uuid, io
out=sys.argv[1]
import pyarrow as pa, pyarrow.ipc as ipc, fastavro, openpyxl
from openpyxl.utils.datetime import CALENDAR_MAC_1904
D=decimal.Decimal
schema={"type":"record","name":"r","namespace":"t","fields":[
 {"name":"id","type":"long"},
 {"name":"i","type":["null","int"]},
 {"name":"f","type":"float"},{"name":"x","type":["double","null"]},
 {"name":"b","type":"boolean"},{"name":"s","type":["null","string"]},{"name":"raw","type":"bytes"},
 {"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
 {"name":"fx","type":{"type":"fixed","name":"fx16","size":8,"logicalType":"decimal","precision":18,"scale":4}},
 {"name":"day","type":{"type":"int","logicalType":"date"}},
 {"name":"clock","type":{"type":"long","logicalType":"time-micros"}},
 {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
 {"name":"at_ms","type":["null",{"type":"long","logicalType":"timestamp-millis"}]},
 {"name":"here","type":{"type":"long","logicalType":"local-timestamp-micros"}},
 {"name":"u","type":{"type":"string","logicalType":"uuid"}},
 {"name":"color","type":{"type":"enum","name":"color","symbols":["red","green"]}},
 {"name":"tags","type":{"type":"array","items":["null","string"]}},
 {"name":"m","type":{"type":"map","values":"long"}},
 {"name":"nested","type":["null",{"type":"record","name":"n","fields":[{"name":"a","type":"int"},{"name":"b","type":["null","string"]}]}]},
]}
utc=d.timezone.utc
rows=[
 dict(id=1,i=None,f=1.5,x=0.1,b=True,s="é long text that is not inlined",raw=b"\x00\xff",amount=D("-12345.67"),fx=D("99999999999.1234"),day=d.date(1969,12,31),clock=d.time(23,59,59,999999),at=d.datetime(2024,3,31,1,30,0,123456,utc),at_ms=d.datetime(2024,3,31,1,30,0,123000,utc),here=d.datetime(2024,3,31,2,30,0,1),u=uuid.UUID("12345678-1234-5678-1234-567812345678"),color="green",tags=["a",None],m={"k":7},nested={"a":1,"b":None}),
 dict(id=-9223372036854775808,i=-2147483648,f=-0.0,x=None,b=False,s=None,raw=b"",amount=D("0.00"),fx=D("-0.0001"),day=d.date(9999,12,31),clock=d.time(0),at=d.datetime(1,1,1,0,0,0,0,utc),at_ms=None,here=d.datetime(1900,1,1),u=uuid.UUID(int=0),color="red",tags=[],m={},nested=None),
]
def dump(codec):
    with open(f"{out}/types-{codec}.avro","wb") as f: fastavro.writer(f,schema,rows,codec=codec,sync_marker=b"0123456789abcdef")
for c in ["null","deflate","snappy","zstandard"]:
    dump(c)
t=pa.table({"id":pa.array([1,2,3],pa.int64()),"s":pa.array(["a",None,"long text that is not inlined"]),
 "d":pa.array(["x","y","x"]).dictionary_encode(),"dec":pa.array([D("1.50"),None,D("-2.25")],pa.decimal128(10,2)),
 "ts":pa.array([0,None,1],pa.timestamp("us")),"tz":pa.array([0,1,None],pa.timestamp("ms","UTC")),"l":pa.array([[1,None],None,[]],pa.list_(pa.int32()))})
for c in [None,"lz4","zstd"]:
    n=c or "none"
    o=ipc.IpcWriteOptions(compression=c)
    with ipc.new_file(f"{out}/t-{n}.arrow",t.schema,options=o) as w: w.write_table(t); w.write_table(t)
    with ipc.new_stream(f"{out}/t-{n}.arrows",t.schema,options=o) as w: w.write_table(t); w.write_table(t)
wb=openpyxl.Workbook(); ws=wb.active; ws.title="Orders"
ws.append(["id","name","amount","day","at","ok","mixed","clock"])
ws.append([1,"é",1.5,d.date(2024,2,29),d.datetime(2024,2,29,13,30),True,5,d.time(12,30)])
ws.append([2,None,-0.1,d.date(1900,3,1),d.datetime(2024,3,1),False,"five",d.time(0,0,1)])
ws.append([])
ws.append([3,"007",1e300,None,None,None,True,None])
w2=wb.create_sheet("Cells"); w2["B3"]="a"; w2["C3"]="b"; w2["B4"]=1; w2["C4"]="=B4*2"; w2["B5"]=2; w2["E9"]="note"; w2["C5"]="#N/A"
wb.save(f"{out}/book.xlsx")
wb=openpyxl.Workbook(); wb.epoch=CALENDAR_MAC_1904; ws=wb.active; ws.append(["day"]); ws.append([d.date(2024,2,29)]); wb.save(f"{out}/mac.xlsx")
