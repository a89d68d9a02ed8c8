"""Codes of languages: the two letters of ISO 639-1 where there are some, else the three of ISO 639-2."""

from __future__ import annotations

import re

# ISO 639-1, then ISO 639-2 (terminology code, and the bibliographic one where it differs), then codes of old.
_CODES = (
    "aa aar,ab abk,ae ave,af afr,ak aka,am amh,an arg,ar ara,as asm,av ava,ay aym,az aze,ba bak,be bel,"
    "bg bul,bi bis,bm bam,bn ben,bo bod tib,br bre,bs bos,ca cat,ce che,ch cha,co cos,cr cre,cs ces cze,"
    "cu chu,cv chv,cy cym wel,da dan,de deu ger,dv div,dz dzo,ee ewe,el ell gre,en eng,eo epo,es spa,"
    "et est,eu eus baq,fa fas per,ff ful,fi fin,fj fij,fo fao,fr fra fre,fy fry,ga gle,gd gla,gl glg,"
    "gn grn,gu guj,gv glv,ha hau,he heb iw,hi hin,ho hmo,hr hrv scr,ht hat,hu hun,hy hye arm,hz her,"
    "ia ina,id ind in,ie ile,ig ibo,ii iii,ik ipk,io ido,is isl ice,it ita,iu iku,ja jpn,jv jav jw,"
    "ka kat geo,kg kon,ki kik,kj kua,kk kaz,kl kal,km khm,kn kan,ko kor,kr kau,ks kas,ku kur,kv kom,"
    "kw cor,ky kir,la lat,lb ltz,lg lug,li lim,ln lin,lo lao,lt lit,lu lub,lv lav,mg mlg,mh mah,"
    "mi mri mao,mk mkd mac,ml mal,mn mon,mr mar,ms msa may,mt mlt,my mya bur,na nau,nb nob,nd nde,ne nep,"
    "ng ndo,nl nld dut,nn nno,no nor,nr nbl,nv nav,ny nya,oc oci,oj oji,om orm,or ori,os oss,pa pan,"
    "pi pli,pl pol,ps pus,pt por,qu que,rm roh,rn run,ro ron rum mo mol,ru rus,rw kin,sa san,sc srd,"
    "sd snd,se sme,sg sag,si sin,sk slk slo,sl slv,sm smo,sn sna,so som,sq sqi alb,sr srp scc,ss ssw,"
    "st sot,su sun,sv swe,sw swa,ta tam,te tel,tg tgk,th tha,ti tir,tk tuk,tl tgl,tn tsn,to ton,tr tur,"
    "ts tso,tt tat,tw twi,ty tah,ug uig,uk ukr,ur urd,uz uzb,ve ven,vi vie,vo vol,wa wln,wo wol,xh xho,"
    "yi yid ji,yo yor,za zha,zh zho chi,zu zul"
)
_SHORT = {code: codes.split()[0] for codes in _CODES.split(",") for code in codes.split()}
UNKNOWN = "und"  # what ISO 639-2 has for an undetermined language


def short_code(tag: str) -> str:
    """A tag such as deu, ger or pt_br as BCP 47 has it: de, pt-BR; `und` where it is no code at all."""
    primary, *more = re.split("[-_]", tag.strip())
    if not re.fullmatch("[A-Za-z]{2,3}", primary) or not all(
        re.fullmatch("[A-Za-z0-9]{1,8}", o) for o in more
    ):
        return UNKNOWN
    # A country is written in capitals, a script with one.
    rest = [{2: str.upper, 4: str.title}.get(len(one), str.lower)(one) for one in more]
    return "-".join([_SHORT.get(primary.lower(), primary.lower()), *rest])
